"""Build trees: a linked copy of the source with the objects in a folder below it.

The objects are in a direct child of the source, so that kbuild refers to the source as `..`
(Makefile: `srctree := ..`). Compiler commands then have no absolute paths, and a copied tree is up
to date in its new place. `rebase_paths` rewrites the remaining absolute paths (dependencies of the
tools, above all of objtool, on which every object depends).

make compares times. `renew_differences` gives every file that differs from the tree of the objects
the present time; equal files keep the time that they had there.
"""

import contextlib
import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.files import replacement
from harness.process import Runner

OBJECTS = "objects"


@dataclass(frozen=True)
class BaseTree:
    """A finished tree to start from. `built_in`: its folder during the build, before it was moved.

    `patched`: the files in which it differs from the wanted source; None: unknown, for another
    source.
    """

    key: str
    tree: Path
    built_in: str
    patched: tuple[str, ...] | None = None


def link_tree_argv(source: Path, tree: Path) -> list[str]:
    """Return the command that links the contents of `source`, except objects, to `tree`."""
    names = sorted(path.name for path in source.iterdir() if path.name != OBJECTS)
    return ["cp", "-a", "--link", "-t", str(tree), "--", *(f"{source}/{name}" for name in names)]


def copy_objects_argv(base: Path, tree: Path) -> list[str]:
    """Return the command that copies the objects of `base` to `tree`, times included."""
    return ["cp", "-a", "--reflink=auto", str(base / OBJECTS), str(tree / OBJECTS)]


def populate_tree(source: Path, tree: Path, base: BaseTree | None, runner: Runner) -> bool:
    """Fill `tree` from `source`, with the objects of the finished tree `base`.

    Returns whether the base was used; then `renew_differences` must be called after patching. Files
    are shared with a base of the same source, so that they have the times its objects expect.
    """
    tree.mkdir()
    shared = base and base.patched is not None and (base.tree / OBJECTS).is_dir()
    runner.run(link_tree_argv(base.tree if base and shared else source, tree), check=True)
    for name in (base.patched or ()) if base and shared else ():
        _restore(source / name, tree / name)
    objects = tree / OBJECTS
    if base and runner.run(copy_objects_argv(base.tree, tree)).returncode == 0:
        rebase_paths(objects, base.built_in, str(tree))
        return True
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir()
    return False


def _restore(pristine: Path, ours: Path) -> None:
    """Replace `ours` by its pristine form, or remove it if there is none."""
    ours.unlink(missing_ok=True)
    if os.path.lexists(pristine):
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.hardlink_to(pristine)


def renew_differences(tree: Path, base: BaseTree, patched: Iterable[str]) -> None:
    """Make every file that differs between `tree` and `base` newer than the objects of `base`.

    `patched`: the files in which `tree` differs from its source. A patched file of `base` is newer
    than its pristine form, whose object would seem up to date. Equal files that are newer in
    `tree`, since they are of another source or were patched again, are replaced by those of `base`.
    """
    known = base.patched
    names = inodes(tree) if known is None else {*known, *patched}
    for name in names:
        ours, theirs = tree / name, base.tree / name
        with contextlib.suppress(FileNotFoundError):  # new files have no objects yet
            if os.path.samestat(ours.lstat(), theirs.lstat()) or ours.is_symlink():
                continue
            _replace(ours, theirs, link=_alike(ours, theirs))


def _alike(ours: Path, theirs: Path) -> bool:
    """Return whether two files have the same contents and executable bit.

    Other mode bits depend on how a source was unpacked.
    """
    modes = {bool(path.stat().st_mode & 0o100) for path in (ours, theirs)}
    return theirs.is_file() and len(modes) == 1 and filecmp.cmp(ours, theirs, shallow=False)


def _replace(ours: Path, theirs: Path, link: bool) -> None:
    """Replace the inode of `ours` by that of `theirs`, or by a copy with the present time.

    It was a hard link to the pristine source, whose time must not change.
    """
    with replacement(ours) as fresh:
        if link:
            fresh.hardlink_to(theirs)
        else:
            shutil.copyfile(ours, fresh)
            shutil.copymode(ours, fresh)


def inodes(tree: Path) -> dict[str, int]:
    """Return the inodes of the files of a build tree, except objects, by relative path.

    Reads folders only, no files.
    """
    found: dict[str, int] = {}
    folders = [""]
    while folders:
        here = folders.pop()
        with os.scandir(tree / here) as entries:
            for entry in entries:
                name = f"{here}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    found[name] = entry.inode()
                elif name != OBJECTS:
                    folders.append(f"{name}/")
    return found


def changed_files(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return the files that two results of `inodes` do not share."""
    return sorted(name for name in {**before, **after} if before.get(name) != after.get(name))


def rebase_paths(objects: Path, old: str, new: str) -> None:
    """Rewrite absolute paths in kbuild's and the tools' records of how a file was made."""
    for record in objects.rglob(".*"):
        if record.suffix not in (".cmd", ".d") or not record.is_file():
            continue
        content = record.read_bytes()
        if old.encode() in content:
            record.write_bytes(content.replace(old.encode(), new.encode()))
