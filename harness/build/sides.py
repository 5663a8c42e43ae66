"""The two sides of a comparison in a user's git tree: commits, a series, or the tree as it stands.

    sides = find_sides(Path("."), "HEAD", "", "", cache, runner)
    base, change = side_kernels(sides, recipe, folder, cache, runner)

The tree, its index and its branches are read, never written: what has to be made a commit is made
one in a repository of our own in the cache (`harness.build.git`), which borrows the tree's objects.
Both kernels are one unpacked commit and a patch each. That commit stays the same from one
comparison to the next while the patches are small, so that only what differs is built again.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache
from harness.build.git import Repository, ask_user_repository, last_lines, open_commit
from harness.build.patches import copy_inputs
from harness.build.sandbox import is_contained
from harness.build.source_range import load_series
from harness.build.start_config import config_file
from harness.build.worktree import (
    PATCH_LIMIT,
    apply_series,
    commit_tree,
    write_difference,
    write_kernel,
)
from harness.errors import InputError
from harness.files import replace_file
from harness.process import Runner
from harness.scratch import scratch_folder
from harness.spec.kernel import GitSource, KernelSpec
from harness.testmod.source import SOURCE_FILE
from harness.text import one_line

WORKING_TREE = "working tree"
CONFIG = "own.config"  # the user's configuration, beside the kernel files
UNTRACKED_LIMIT = 32 << 20  # bytes of files that git does not know: no source has as many
_FAR = 4 << 20  # bytes of a patch, above which another commit is unpacked


@dataclass(frozen=True)
class Side:
    """One side: its `commit` in our repository, the user's `word` for it, and the subject."""

    commit: str
    word: str
    title: str


@dataclass(frozen=True)
class Sides:
    """What is compared. `tree`: the top folder of the user's; `repository`: ours."""

    tree: Path
    repository: Repository
    base: Side
    change: Side

    def read(self, name: str) -> str | None:
        """Return a file of the change, or None where it has none of that name."""
        shown = self.repository.git("show", f"{self.change.commit}:{name}")
        return None if shown.returncode else shown.output


def find_tree(folder: Path) -> Path:
    """Return the top folder of the git tree that `folder` lies in."""
    here = folder.resolve()
    for top in (here, *here.parents):
        if (top / ".git").exists():
            return top
    raise InputError(
        f"{here} is in no git tree\n  next: run this in a kernel tree, or name one with --tree "
        "(`git init`, `git add --all --force` "
        "and `git commit` make one of an unpacked tarball)"
    )


def find_sides(
    folder: Path, base: str, change: str, patches: str, cache: Cache, runner: Runner
) -> Sides:
    """Return the two sides that the user's words mean in the tree around `folder`.

    `base`: a commit, `A..B` or `A...B`; empty: HEAD, or what the series names. `change`: a commit;
    empty: the working tree. `patches`: a mailbox, a folder of patches, "-" for a mailbox on
    standard input, or empty. Raises InputError. Whether they differ: `refuse_same`.
    """
    tree = find_tree(folder)
    if ".." in base and not change and not patches:
        return _range_sides(tree, base, cache, runner)
    if patches:
        if change:
            raise InputError(f"--patch says what the change is; found also {change!r}")
        sides = _series_sides(tree, base, patches, cache, runner)
    else:
        repository, first = _commit_side(tree, base or "HEAD", cache, runner)
        if change:
            _, second = _commit_side(tree, change, cache, runner)
        else:
            second = _working_tree_side(tree, repository)
        sides = Sides(tree, repository, first, second)
    return _kernel_sides(sides)


def find_change(folder: Path, commit: str, patches: str, cache: Cache, runner: Runner) -> Sides:
    """Return a change alone, with what it is on top of as the base; both may be the same.

    `commit`: empty for the working tree. `patches`: see `find_sides`. Raises InputError.
    """
    tree = find_tree(folder)
    if patches:
        return _kernel_sides(_series_sides(tree, commit, patches, cache, runner))
    repository, side = _commit_side(tree, commit or "HEAD", cache, runner)
    change = side if commit else _working_tree_side(tree, repository)
    return _kernel_sides(Sides(tree, repository, side, change))


def _range_sides(tree: Path, text: str, cache: Cache, runner: Runner) -> Sides:
    left, _, right = text.partition("..")
    symmetric = right.startswith(".")
    right = right.removeprefix(".")
    repository, first = _commit_side(tree, left or "HEAD", cache, runner)
    _, second = _commit_side(tree, right or "HEAD", cache, runner)
    if symmetric:
        common = repository.git("merge-base", first.commit, second.commit)
        if common.returncode:
            raise InputError(f"{text}: the two have no commit in common")
        _, first = _commit_side(tree, common.output.strip(), cache, runner)
    return _kernel_sides(Sides(tree, repository, first, second))


def refuse_same(sides: Sides) -> None:
    """Raise InputError where there is nothing to compare.

    Apart from `find_sides`, so that a fault in what else the user asked for is said first.
    """
    ours = sides.repository
    if ours.tree_of(sides.base.commit) == ours.tree_of(sides.change.commit):
        raise InputError(
            f"{sides.change.word} is the same as {sides.base.word}: there is nothing to compare\n"
            "  next: change something, or name two commits (vmapbench ab HEAD~1 HEAD)"
        )


def _kernel_sides(sides: Sides) -> Sides:
    if sides.read(SOURCE_FILE) is None or sides.read("mm/vmalloc.c") is None:
        raise InputError(
            f"{sides.tree} is no kernel tree: {sides.change.word} has no {SOURCE_FILE} or no "
            "mm/vmalloc.c"
        )
    return sides


def _commit_side(tree: Path, ref: str, cache: Cache, runner: Runner) -> tuple[Repository, Side]:
    repository = open_commit(str(tree), ref, cache, runner)
    word = ref[:12] if ref == repository.base else one_line(ref, 40)
    return repository, Side(repository.base, word, _subject(repository, repository.base))


def _subject(repository: Repository, commit: str) -> str:
    return one_line(repository.read("show", "-s", "--format=%s", commit), 200)


def _series_sides(tree: Path, base: str, patches: str, cache: Cache, runner: Runner) -> Sides:
    shown = "standard input" if patches == "-" else patches
    with scratch_folder("mbox") as scratch:
        place = Path(patches)
        if patches == "-":
            place = scratch / "mbox"
            place.write_bytes(sys.stdin.buffer.read())
        try:
            series = load_series(place, runner)
        except InputError as error:
            raise InputError(str(error).replace(str(place), shown)) from error
    named = base or series.base_commit
    try:
        repository, first = _commit_side(tree, named or "HEAD", cache, runner)
    except InputError as error:
        if base or not named:
            raise
        raise InputError(
            f"the series is for commit {named[:12]}, which {tree} does not have\n"
            "  next: fetch it, or name another BASE (vmapbench ab HEAD --patch ...)"
        ) from error
    commits = apply_series(repository, first.commit, series, contained=is_contained())
    word = one_line(Path(shown).name, 40)
    return Sides(tree, repository, first, Side(commits[-1], word, series.title))


def _working_tree_side(tree: Path, repository: Repository) -> Side:
    """Make a commit in our repository of the files of `tree` as they stand.

    Untracked files are part of it, ignored ones are not. The index is a copy of the user's, for
    what it knows of unchanged files; where that cannot be used, every file is read.
    """
    head = repository.base
    with scratch_folder("index") as scratch:
        index = scratch / "index"
        _write_index(tree, repository, index)
        where = ["-C", str(tree), "-c", "core.symlinks=true", f"--work-tree={tree}"]
        env = {"GIT_INDEX_FILE": str(index)}
        if unmerged := repository.read(*where, "ls-files", "--unmerged", "--full-name", env=env):
            name = unmerged.splitlines()[0].partition("\t")[2]
            raise InputError(
                f"{tree}: {one_line(name)} has conflicts that are not resolved\n"
                "  next: resolve them, or name two commits"
            )
        _refuse_many_untracked(tree, repository, where, env)
        repository.read(*where, "add", "--all", "--", ".", env=env)
        contents = repository.read("write-tree", env=env)
    commit = commit_tree(repository, contents, WORKING_TREE, head)
    return Side(commit, WORKING_TREE, f"with its changes, on {head[:12]}")


def _write_index(tree: Path, repository: Repository, index: Path) -> None:
    """Fill `index` from the user's, times included, and take over what their clone ignores."""
    arguments = ["rev-parse", "--git-path", "index", "--git-path", "info/exclude"]
    asked = ask_user_repository(tree, arguments, repository.runner)
    if asked.returncode:
        raise InputError(f"looking into {tree}: {last_lines(asked.output)}")
    theirs, exclude = ((tree / line).resolve() for line in asked.output.splitlines())
    ignored = exclude.read_bytes() if exclude.is_file() else b""
    replace_file(repository.folder / "info/exclude", ignored)
    env = {"GIT_INDEX_FILE": str(index)}
    if theirs.is_file():
        shutil.copy2(theirs, index)  # git tells by its time which entries may be stale
        if repository.git("ls-files", "--error-unmatch", "Makefile", env=env).returncode == 0:
            return
    index.unlink(missing_ok=True)  # none, a split one, or one that this git cannot read
    repository.read("read-tree", repository.base, env=env)


def _refuse_many_untracked(
    tree: Path, repository: Repository, where: list[str], env: dict[str, str]
) -> None:
    arguments = [*where, "ls-files", "-z", "--others", "--exclude-standard"]
    sizes = {
        name: (tree / name).lstat().st_size
        for name in repository.read(*arguments, env=env).split("\0")
        if name and (tree / name).exists()
    }
    if sum(sizes.values()) > UNTRACKED_LIMIT:
        largest = max(sizes, key=lambda name: sizes[name])
        raise InputError(
            f"{tree}: files that git does not know have {sum(sizes.values()) >> 20} MiB, at most "
            f"{UNTRACKED_LIMIT >> 20} are taken for source; the largest is {one_line(largest)}\n"
            "  next: name them in .git/info/exclude, or move them"
        )


def side_kernels(
    sides: Sides, recipe: KernelSpec, folder: Path, cache: Cache, runner: Runner
) -> tuple[KernelSpec, KernelSpec]:
    """Write the kernel files of both sides, with what they need, to `folder`; return them.

    `recipe` gives configuration, toolchain and boot parameters.
    """
    (folder / "patches").mkdir(parents=True, exist_ok=True)
    copy_inputs(recipe, folder)
    if start := config_file(recipe):
        shutil.copyfile(start, folder / CONFIG)
        recipe = recipe.model_copy(update={"config": CONFIG})
    origin = _origin(sides, cache, runner)
    found = []
    for role, side in (("base", sides.base), ("change", sides.change)):
        name = f"{role}-{side.commit[:12]}"
        patch = f"patches/{name}.patch"
        size = write_difference(sides.repository, origin, side.commit, folder / patch)
        source = GitSource(git=str(sides.tree), ref=origin)
        if size > PATCH_LIMIT:
            source = GitSource(git=str(sides.repository.folder), ref=side.commit)
        if not 0 < size <= PATCH_LIMIT:
            (folder / patch).unlink()
        changed: dict[str, object] = {
            "name": name,
            "label": side.word,
            "summary": f"{side.title} ({side.commit[:12]})",
            "source": source,
            "patches": (patch,) if (folder / patch).exists() else (),
            "folder": folder.resolve(),
        }
        found.append(recipe.model_copy(update=changed))
        write_kernel(found[-1])
    return found[0], found[1]


def _origin(sides: Sides, cache: Cache, runner: Runner) -> str:
    """Return the commit to unpack: that of the last time if it is close, else the base."""
    ours, base = sides.repository, sides.base.commit
    memory = cache.place("git", f"{ours.folder.name}.origin")
    known = memory.read_text(encoding="ascii").strip() if memory.is_file() else base
    if known != base and _usable(sides, known, cache, runner):
        return known
    replace_file(memory, f"{base}\n")
    return base


def _usable(sides: Sides, commit: str, cache: Cache, runner: Runner) -> bool:
    """Return whether `commit` is still in the user's tree and unpacked, and the base is close."""
    try:
        ours = open_commit(str(sides.tree), commit, cache, runner)
    except InputError:
        return False
    if not cache.place("sources", f"git-{ours.tree_of(commit)}").is_dir():
        return False
    with scratch_folder("patch") as scratch:
        size = write_difference(ours, commit, sides.base.commit, scratch / "patch")
    return size <= _FAR
