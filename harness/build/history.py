"""A row of kernels, each one change further: the commits of a branch, or the patches of a series.

Every one of them is the first one's source and a patch, so that it starts from the others' objects
and no commit is unpacked whole.
"""

import contextlib
import email
import email.policy
import hashlib
import mailbox
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache, write_atomically
from harness.errors import InputError
from harness.process import Runner
from harness.spec.kernel import GitSource, KernelSpec

_NUMBER = re.compile(r"\[[^]]*?\b(\d+)/\d+\]")  # [PATCH v3 02/11]


@dataclass(frozen=True)
class Change:
    """One kernel of a row. `name`: of the kernel; `id`: commit or patch; `title`: its subject."""

    name: str
    id: str
    title: str
    merge: bool = False


@dataclass(frozen=True)
class History:
    """`changes[0]` is GOOD, the last one BAD. `spec` returns the kernel of a number in it."""

    changes: tuple[Change, ...]
    spec: Callable[[int], KernelSpec]

    @property
    def names(self) -> tuple[str, ...]:
        """The kernels' names, in order."""
        return tuple(change.name for change in self.changes)


def commit_history(
    recipe: KernelSpec, tree: Path, good: str, bad: str, cache: Cache, runner: Runner
) -> History:
    """Return the commits from `good` to `bad` along first parents; a merge is one of them.

    `recipe` gives configuration, toolchain, boot parameters and patches on top of each. Raises
    InputError where there is no such line of commits.
    """
    first, last = (_commit_id(tree, ref, runner) for ref in (good, bad))
    argv = ["rev-list", "--first-parent", "--reverse", "--format=%P%x09%s", f"{first}..{last}"]
    lines = _git(tree, argv, runner).splitlines()
    found = [(head.split()[1], *rest.split("\t", 1)) for head, rest in _pairs(lines)]
    if not found:
        raise InputError(f"bisecting {tree}: there is no commit between {good} and {bad}")
    parents = found[0][1].split()
    if first not in parents[:1]:
        start = parents[0][:12] if parents else "nothing"
        raise InputError(
            f"bisecting {tree}: {good} is not on the line of first parents of {bad}, which "
            f"leaves its history at {start}\n  next: try that one as GOOD"
        )
    title = _git(tree, ["show", "-s", "--format=%s", first], runner).strip()
    changes = [_change(0, first, title)]
    for commit, parent, subject in found:
        changes.append(_change(len(changes), commit, subject, merge=" " in parent))
    folder = _lay_recipe(recipe, f"{tree} {first}", cache)

    def spec(number: int) -> KernelSpec:
        change = changes[number]
        patches = recipe.patches
        if number:
            name = f"patches/{change.name}.patch"
            _keep_difference(tree, first, change.id, folder / name, runner)
            patches = (name, *patches)
        source = GitSource(git=str(tree.absolute()), ref=first)
        return _variant(recipe, folder, change, patches, source)

    return History(tuple(changes), spec)


def series_history(recipe: KernelSpec, series: Path, cache: Cache) -> History:
    """Return `recipe`'s kernel and, one after the other, the patches of `series` on top of it.

    `series`: a folder of patches (in the order of quilt's file `series`, else of their names) or a
    mailbox. Raises InputError where it has none.
    """
    patches = read_series(series)
    if not patches:
        raise InputError(f"bisecting {series}: found no patch in it")
    folder = _lay_recipe(recipe, str(series.absolute()), cache)
    changes = [_change(0, recipe.name, recipe.summary or recipe.name)]
    for name, text in patches:
        changes.append(_change(len(changes), name, _subject(text) or name))
        write_atomically(folder / f"patches/{changes[-1].name}.patch", text)

    def spec(number: int) -> KernelSpec:
        applied = [f"patches/{change.name}.patch" for change in changes[1 : number + 1]]
        names = (*recipe.patches, *applied)
        return _variant(recipe, folder, changes[number], names, recipe.source)

    return History(tuple(changes), spec)


def read_series(series: Path) -> list[tuple[str, str]]:
    """Return name and text of each patch of a folder or mailbox, in order; a cover is left out."""
    if series.is_file():
        with contextlib.closing(mailbox.mbox(series, create=False)) as box:
            mails = [_patch_of(mail.as_bytes()) for mail in box]
        patches = sorted((_number(text), text) for text in mails if "\ndiff --git " in text)
        return [(f"{place:04}", text) for place, (_, text) in enumerate(patches, start=1)]
    order = series / "series"
    if order.is_file():
        lines = (line.split("#")[0].split() for line in order.read_text("utf-8").splitlines())
        names = [words[0] for words in lines if words]
    else:
        names = sorted(path.name for path in series.glob("*.patch"))
    absent = [name for name in names if not (series / name).is_file()]
    if absent:
        raise InputError(f"{order}: these patches are not there: {', '.join(absent)}")
    texts = [(name, (series / name).read_text("utf-8", "surrogateescape")) for name in names]
    return [(name, text) for name, text in texts if re.search(r"^--- ", text, re.MULTILINE)]


def _patch_of(mail: bytes) -> str:
    """Return subject and body of a mail, decoded: git apply passes over what is no patch."""
    message = email.message_from_bytes(mail, policy=email.policy.default)
    body = message.get_body(("plain",))
    content = body.get_content() if body else ""
    return f"Subject: {message['subject']}\n\n{content}".replace("\r\n", "\n")


def _number(text: str) -> int:
    found = _NUMBER.search(text.partition("\n\n")[0])
    return int(found[1]) if found else 0


def _subject(text: str) -> str:
    found = re.search(r"^Subject: *(?:\[[^]]*\] *)?(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _change(number: int, what: str, title: str, merge: bool = False) -> Change:
    short = what[:12] if re.fullmatch(r"[0-9a-f]{40}", what) else what.removesuffix(".patch")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{number:03}-{short}")[:64]
    return Change(name, what, title, merge)


def _variant(
    recipe: KernelSpec,
    folder: Path,
    change: Change,
    patches: Sequence[str],
    source: object,
) -> KernelSpec:
    changed = {
        "name": change.name,
        "summary": change.title,
        "source": source,
        "patches": tuple(patches),
        "folder": folder,
    }
    return recipe.model_copy(update=changed)


def _lay_recipe(recipe: KernelSpec, what: str, cache: Cache) -> Path:
    """Copy patches and fragments of `recipe` to a kernels folder of the bisection's own."""
    digest = hashlib.sha256(f"{recipe.model_dump_json()} {what}".encode()).hexdigest()[:24]
    folder = cache.place("histories", digest)
    (folder / "patches").mkdir(parents=True, exist_ok=True)
    for name in (*recipe.patches, *recipe.fragments):
        if not (recipe.folder / name).is_file():
            raise InputError(f"kernel {recipe.name}: {recipe.folder / name} does not exist")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recipe.folder / name, folder / name)
    return folder


def _keep_difference(tree: Path, old: str, new: str, path: Path, runner: Runner) -> None:
    """Write what leads from commit `old` to `new`; plumbing, so that no user setting changes it."""
    partial = path.with_suffix(".new")
    form = ["--binary", "--full-index", "--no-renames", "-p", f"--output={partial.absolute()}"]
    _git(tree, ["diff-tree", *form, old, new], runner)
    partial.replace(path)


def _commit_id(tree: Path, ref: str, runner: Runner) -> str:
    argv = ["git", "-C", str(tree), "rev-parse", "--verify", "-q", "--end-of-options"]
    done = runner.run([*argv, f"{ref}^{{commit}}"])
    if done.returncode:
        raise InputError(f"bisecting: {tree} has no commit {ref!r}")
    return done.output.strip()


def _git(tree: Path, argv: Sequence[str], runner: Runner) -> str:
    return runner.run(["git", "-C", str(tree), *argv], check=True).output


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(lines[::2], lines[1::2], strict=True))
