"""A range of kernels, each with one more change: commits of a branch, or patches of a series.

Each kernel is the source of the first one and a patch, so that it is built from the others' objects
and no further commit is unpacked.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache
from harness.build.git import Repository, open_commit
from harness.build.patch_folder import load_patches
from harness.build.patches import copy_inputs
from harness.build.series import PatchSeries, load_mailbox
from harness.build.worktree import write_difference
from harness.errors import InputError
from harness.files import replace_file
from harness.process import Runner
from harness.spec.kernel import GitSource, KernelSpec
from harness.text import one_line


@dataclass(frozen=True)
class SourceChange:
    """One kernel of a range. `name`: of the kernel; `id`: commit or patch; `title`: its subject."""

    name: str
    id: str
    title: str
    merge: bool = False


@dataclass(frozen=True)
class SourceRange:
    """`changes[0]` is GOOD, the last one BAD. `spec` returns the kernel with a given index."""

    changes: tuple[SourceChange, ...]
    spec: Callable[[int], KernelSpec]

    @property
    def names(self) -> tuple[str, ...]:
        """The kernels' names, in order."""
        return tuple(change.name for change in self.changes)


def commit_range(
    recipe: KernelSpec, tree: Path, good: str, bad: str, cache: Cache, runner: Runner
) -> SourceRange:
    """Return the commits from `good` to `bad` along first parents; a merge is one change.

    `recipe` has the configuration, toolchain, boot parameters and patches of each kernel. Raises
    InputError if `good` is not on that line of commits.
    """
    try:
        ours, theirs = (open_commit(str(tree), ref, cache, runner) for ref in (good, bad))
    except InputError as error:
        raise InputError(f"bisecting: {error}") from error
    first = ours.base
    found = ours.commits(first, theirs.base)
    if not found and ours.commits(theirs.base, first):
        raise InputError(
            f"bisecting {tree}: {bad} is older than {good}\n"
            f"  next: the older one is GOOD: vmapbench bisect {bad} {good} ..."
        )
    if not found:
        raise InputError(f"bisecting {tree}: there is no commit between {good} and {bad}")
    parents = found[0].parents
    if first not in parents[:1]:
        start = parents[0][:12] if parents else "nothing"
        raise InputError(
            f"bisecting {tree}: {good} is not on the line of first parents of {bad}, which "
            f"leaves its history at {start}\n  next: try that one as GOOD"
        )
    changes = [_change(0, first[:12], first, _subject(ours, first))]
    for commit in found:
        merge = len(commit.parents) > 1
        changes.append(_change(len(changes), commit.id[:12], commit.id, commit.subject, merge))
    folder = _write_recipe(recipe, f"{tree} {first}", cache)

    def spec(number: int) -> KernelSpec:
        change = changes[number]
        patches = recipe.patches
        if number:
            name = f"patches/{change.name}.patch"
            write_difference(ours, first, change.id, folder / name)
            patches = (name, *patches)
        source = GitSource(git=str(tree.absolute()), ref=first)
        return _variant(recipe, folder, change, patches, source)

    return SourceRange(tuple(changes), spec)


def patch_range(recipe: KernelSpec, place: Path, cache: Cache, runner: Runner) -> SourceRange:
    """Return the kernel of `recipe`, then with the first, first two ... patches at `place`.

    `place`: a folder of patches (in the order of quilt's file `series`, or of their names) or a
    mailbox with one series. Raises InputError if it is not one complete series.
    """
    series = load_series(place, runner)
    folder = _write_recipe(recipe, str(place.absolute()), cache)
    changes = [_change(0, recipe.name, recipe.name, recipe.summary or recipe.name)]
    for number, patch in enumerate(series.patches, start=1):
        changes.append(_change(number, patch.title, patch.name, patch.title))
        replace_file(folder / f"patches/{changes[-1].name}.patch", patch.mail)

    def spec(number: int) -> KernelSpec:
        applied = [f"patches/{change.name}.patch" for change in changes[1 : number + 1]]
        names = (*recipe.patches, *applied)
        return _variant(recipe, folder, changes[number], names, recipe.source)

    return SourceRange(tuple(changes), spec)


def load_series(place: Path, runner: Runner) -> PatchSeries:
    """Return the only series in a folder or mailbox. Raises InputError for none or several."""
    maildir = (place / "cur").is_dir() or (place / "new").is_dir()
    found = load_mailbox(place, runner) if maildir or not place.is_dir() else None
    if found and len(found.series) != 1:
        titles = "; ".join(series.title for series in found.series[:5]) or "none"
        rest = f"\n  not understood: {'; '.join(found.odd[:5])}" if found.odd else ""
        step = (
            "leave one series of these in it"
            if found.series
            else "write one with `git format-patch --stdout BASE..BRANCH`"
        )
        raise InputError(
            f"{place}: expected one series of patches, found {titles}{rest}\n  next: {step}"
        )
    series = found.series[0] if found else load_patches(place, runner)
    if series.fault:
        raise InputError(f"{place}: {series.fault}")
    for patch in series.patches:
        if patch.strip != 1:
            raise InputError(f"{place}: {patch.name}: found -p{patch.strip}, expected -p1")
    return series


def _change(number: int, word: str, what: str, title: str, merge: bool = False) -> SourceChange:
    name = re.sub(r"[^A-Za-z0-9._]+", "-", f"{number:03}-{word}").strip("-")[:48]
    return SourceChange(name, what, title, merge)


def _variant(
    recipe: KernelSpec,
    folder: Path,
    change: SourceChange,
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


def _write_recipe(recipe: KernelSpec, what: str, cache: Cache) -> Path:
    """Copy patches and fragments of `recipe` to a new kernels folder, for the range."""
    digest = hashlib.sha256(f"{recipe.model_dump_json()} {what}".encode()).hexdigest()[:24]
    folder = cache.place("histories", digest)
    (folder / "patches").mkdir(parents=True, exist_ok=True)
    copy_inputs(recipe, folder)
    return folder


def _subject(repository: Repository, commit: str) -> str:
    return one_line(repository.read("show", "-s", "--format=%s", commit), 200)
