"""The two sides of a comparison in a user's git tree: commits, a series, or the working tree.

    sides = find_sides(Path("."), "HEAD", "", "", cache, runner)
    base, change = side_kernels(sides, recipe, folder, cache, runner)

The tree, its index and its branches are never written. Commits are made in a repository of our own
in the cache (`harness.build.git`), which borrows the tree's objects. Both kernels are one unpacked
commit and a patch each. Further comparisons use the same commit while the patches are small, so
that only what differs is built again.
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
CONFIG = "own.config"  # a copy of the user's configuration, beside the kernel files
UNTRACKED_LIMIT = 32 << 20  # bytes of untracked files: no source has as many
_FAR = 4 << 20  # bytes of a patch above which another commit is unpacked


@dataclass(frozen=True)
class Side:
    """One side: its `commit` in our repository, the user's `word` for it, and its subject."""

    commit: str
    word: str
    title: str


@dataclass(frozen=True)
class Sides:
    """Both sides. `tree`: the top folder of the user's tree; `repository`: ours."""

    tree: Path
    repository: Repository
    base: Side
    change: Side

    def read(self, name: str) -> str | None:
        """Return the content of a file of the change, None if it does not exist."""
        shown = self.repository.git("show", f"{self.change.commit}:{name}")
        return None if shown.returncode else shown.output


def find_tree(folder: Path) -> Path:
    """Return the top folder of the git tree that contains `folder`. Raises InputError."""
    here = folder.resolve()
    for top in (here, *here.parents):
        if (top / ".git").exists():
            return top
    raise InputError(
        f"{here} is not in a git tree\n  next: run this in a kernel tree, or name one with --tree "
        "(`git init`, `git add --all --force` "
        "and `git commit` turn an unpacked tarball into one)"
    )


def find_sides(
    folder: Path, base: str, change: str, patches: str, cache: Cache, runner: Runner
) -> Sides:
    """Return the two sides that the user's words mean in the tree around `folder`.

    `base`: a commit, `A..B` or `A...B`; empty: HEAD, or what the series names. `change`: a commit;
    empty: the working tree. `patches`: a mailbox, a folder of patches, "-" for a mailbox on
    standard input, or empty. Raises InputError. `refuse_same` checks that they differ.
    """
    tree = find_tree(folder)
    if ".." in base and not change and not patches:
        return _range_sides(tree, base, cache, runner)
    if patches:
        if change:
            raise InputError(f"--patch already defines the change; found also {change!r}")
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
    """Return a change with its own base; both may be the same.

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
    """Raise InputError if both sides are the same.

    Not part of `find_sides`, so that errors in other options are reported first.
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
            f"{sides.tree} is not a kernel tree: {sides.change.word} has no {SOURCE_FILE} or no "
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
    """Commit the present files of `tree` to our repository.

    Untracked files are included, ignored ones are not. The index starts as a copy of the user's, so
    that unchanged files need not be read; if that is unusable, every file is.
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
                f"{tree}: {one_line(name)} has unresolved conflicts\n"
                "  next: resolve them, or name two commits"
            )
        _refuse_many_untracked(tree, repository, where, env)
        repository.read(*where, "add", "--all", "--", ".", env=env)
        contents = repository.read("write-tree", env=env)
    commit = commit_tree(repository, contents, WORKING_TREE, head)
    return Side(commit, WORKING_TREE, f"with its changes, on {head[:12]}")


def _write_index(tree: Path, repository: Repository, index: Path) -> None:
    """Copy the user's index, times included, to `index`, and their clone's excludes."""
    arguments = ["rev-parse", "--git-path", "index", "--git-path", "info/exclude"]
    asked = ask_user_repository(tree, arguments, repository.runner)
    if asked.returncode:
        raise InputError(f"looking into {tree}: {last_lines(asked.output)}")
    theirs, exclude = ((tree / line).resolve() for line in asked.output.splitlines())
    ignored = exclude.read_bytes() if exclude.is_file() else b""
    replace_file(repository.folder / "info/exclude", ignored)
    env = {"GIT_INDEX_FILE": str(index)}
    if theirs.is_file():
        shutil.copy2(theirs, index)  # git uses its time to find entries that may be stale
        if repository.git("ls-files", "--error-unmatch", "Makefile", env=env).returncode == 0:
            return
    index.unlink(missing_ok=True)  # missing, split, or unreadable for this git
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
            f"{tree}: untracked files have {sum(sizes.values()) >> 20} MiB, at most "
            f"{UNTRACKED_LIMIT >> 20} are copied as source; the largest is {one_line(largest)}\n"
            "  next: list them in .git/info/exclude, or move them"
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
    """Return the commit to unpack: that of the last comparison if close, else the base."""
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
