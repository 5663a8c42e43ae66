"""A row of kernels, each one change further: the commits of a branch, or the patches of a series.

Every one of them is the first one's source and a patch, so that it starts from the others' objects
and no commit is unpacked whole.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache
from harness.build.patches import copy_inputs
from harness.build.series import Series, load_mbox, load_patches
from harness.errors import InputError
from harness.files import replace_file, replacement
from harness.process import Runner
from harness.spec.kernel import GitSource, KernelSpec


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
    changes = [_change(0, first[:12], first, title)]
    for commit, parent, subject in found:
        changes.append(_change(len(changes), commit[:12], commit, subject, " " in parent))
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


def series_history(recipe: KernelSpec, place: Path, cache: Cache) -> History:
    """Return `recipe`'s kernel and, one after the other, the patches at `place` on top of it.

    `place`: a folder of patches (in the order of quilt's file `series`, else of their names) or a
    mailbox with one series. Raises InputError where it is not one whole series.
    """
    series = load_series(place)
    folder = _lay_recipe(recipe, str(place.absolute()), cache)
    changes = [_change(0, recipe.name, recipe.name, recipe.summary or recipe.name)]
    for number, patch in enumerate(series.patches, start=1):
        changes.append(_change(number, patch.title, patch.name, patch.title))
        replace_file(folder / f"patches/{changes[-1].name}.patch", patch.mail)

    def spec(number: int) -> KernelSpec:
        applied = [f"patches/{change.name}.patch" for change in changes[1 : number + 1]]
        names = (*recipe.patches, *applied)
        return _variant(recipe, folder, changes[number], names, recipe.source)

    return History(tuple(changes), spec)


def load_series(place: Path) -> Series:
    """Return the one series in a folder or mailbox. Raises InputError where it is not one."""
    found = [load_patches(place)] if place.is_dir() else load_mbox(place)
    if len(found) != 1:
        titles = "; ".join(series.title for series in found[:5]) or "none"
        raise InputError(f"bisecting {place}: expected one series of patches, found {titles}")
    (series,) = found
    if series.fault:
        raise InputError(f"bisecting {place}: {series.fault}")
    for patch in series.patches:
        if patch.strip != 1:
            raise InputError(
                f"bisecting {place}: {patch.name}: found -p{patch.strip}, expected -p1"
            )
    return series


def _change(number: int, word: str, what: str, title: str, merge: bool = False) -> Change:
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{number:03}-{word}").strip("-")[:48]
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
    copy_inputs(recipe, folder)
    return folder


def _keep_difference(tree: Path, old: str, new: str, path: Path, runner: Runner) -> None:
    """Write what leads from commit `old` to `new`; plumbing, so that no user setting changes it."""
    form = ["--binary", "--full-index", "--no-renames", "-p"]
    with replacement(path.absolute()) as output:
        _git(tree, ["diff-tree", *form, f"--output={output}", old, new], runner)


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
