"""Build trees: a linked copy of the source with the objects in a folder below it.

The objects lie in a direct child of the source, so that kbuild refers to the source as `..`
(Makefile: `srctree := ..`): no compiler command holds an absolute path, and a copied tree is
up to date in its new place. What kbuild still writes absolutely (the tools' dependencies, above
all objtool's, on which every object depends) is rewritten by `rebase_paths`.

make judges by times. Whatever differs from the tree that the objects were built from gets the
present time, and whatever is alike keeps the time that it had there: see `renew_differences`.
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
    """A finished tree to start from. It was moved after it was built, so its records say where.

    `patched`: the files by which it differs from the source that is wanted now; None: unknown, as
    where it is of another source.
    """

    key: str
    tree: Path
    built_in: str
    patched: tuple[str, ...] | None = None


def link_tree_argv(source: Path, tree: Path) -> list[str]:
    """Return the command that gives `tree` the contents of `source`, but its objects, as links."""
    names = sorted(path.name for path in source.iterdir() if path.name != OBJECTS)
    return ["cp", "-a", "--link", "-t", str(tree), "--", *(f"{source}/{name}" for name in names)]


def copy_objects_argv(base: Path, tree: Path) -> list[str]:
    """Return the command that copies the objects of `base` to `tree`, times included."""
    return ["cp", "-a", "--reflink=auto", str(base / OBJECTS), str(tree / OBJECTS)]


def populate_tree(source: Path, tree: Path, base: BaseTree | None, runner: Runner) -> bool:
    """Fill `tree` from `source`, and with the objects of the finished tree `base`.

    Returns whether the base could be used; then `renew_differences` has to follow once the tree is
    patched. Files of a base of the same source are shared with it, whose times its objects know.
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
    """Give `ours` the form that it has in the source, if it is there at all."""
    ours.unlink(missing_ok=True)
    if os.path.lexists(pristine):
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.hardlink_to(pristine)


def renew_differences(tree: Path, base: BaseTree, patched: Iterable[str]) -> None:
    """Make the objects of `base`, copied to `tree`, older than every file that is other in `tree`.

    `patched`: the files by which `tree` differs from its source. A patched file of `base` is
    younger than its pristine form, whose object would pass for up to date. Alike files, younger in
    `tree` because they are of another source or were patched again, are replaced by those of
    `base`.
    """
    known = base.patched
    names = inodes(tree) if known is None else {*known, *patched}
    for name in names:
        ours, theirs = tree / name, base.tree / name
        with contextlib.suppress(FileNotFoundError):  # new files have no objects to be older than
            if os.path.samestat(ours.lstat(), theirs.lstat()) or ours.is_symlink():
                continue
            _replace(ours, theirs, link=_alike(ours, theirs))


def _alike(ours: Path, theirs: Path) -> bool:
    """Return whether contents are the same, and whether they are programs.

    What else a mode allows is of no matter: who unpacked a source, and from what, decides it.
    """
    modes = {bool(path.stat().st_mode & 0o100) for path in (ours, theirs)}
    return theirs.is_file() and len(modes) == 1 and filecmp.cmp(ours, theirs, shallow=False)


def _replace(ours: Path, theirs: Path, link: bool) -> None:
    """Give `ours` another inode: that of `theirs`, or one of its own with the present time.

    What it was is a link into the pristine source, whose time is not ours to change.
    """
    with replacement(ours) as fresh:
        if link:
            fresh.hardlink_to(theirs)
        else:
            shutil.copyfile(ours, fresh)
            shutil.copymode(ours, fresh)


def inodes(tree: Path) -> dict[str, int]:
    """Return the files of a build tree without its objects, relative to it, with their inodes.

    The folders alone are read, not one of the files.
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
