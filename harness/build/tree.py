"""Build trees: a linked copy of the source with the objects in a folder below it.

The objects lie in a direct child of the source, so that kbuild speaks of the source as `..`
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.files import replacement
from harness.process import Runner

OBJECTS = "objects"


@dataclass(frozen=True)
class BaseTree:
    """A finished tree to start from. It was moved after it was built, so its records say where."""

    key: str
    tree: Path
    built_in: str


def link_tree_argv(source: Path, tree: Path) -> list[str]:
    """Return the command that gives `tree` the contents of `source` as hard links."""
    return ["cp", "-a", "--link", f"{source}/.", str(tree)]


def copy_objects_argv(base: Path, tree: Path) -> list[str]:
    """Return the command that copies the objects of `base` to `tree`, times included."""
    return ["cp", "-a", "--reflink=auto", str(base / OBJECTS), str(tree / OBJECTS)]


def lay_tree(source: Path, tree: Path, base: BaseTree | None, runner: Runner) -> bool:
    """Fill `tree` from `source`, and with the objects of the finished tree `base`.

    Returns whether the base could be used.
    """
    tree.mkdir()
    runner.run(link_tree_argv(source, tree), check=True)
    objects = tree / OBJECTS
    if base and runner.run(copy_objects_argv(base.tree, tree)).returncode == 0:
        rebase_paths(objects, base.built_in, str(tree))
        renew_differences(tree, base.tree)
        return True
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir()
    return False


def renew_differences(tree: Path, base: Path) -> None:
    """Make the objects of `base`, copied to `tree`, older than every file that is other in `tree`.

    A patched file of `base` is younger than its pristine form, whose object would pass for up to
    date. Alike files of another source, younger in `tree`, are replaced by those of `base`.
    """
    for name in _source_files(tree):
        ours, theirs = tree / name, base / name
        with contextlib.suppress(FileNotFoundError):  # new files have no objects to be older than
            if os.path.samestat(ours.lstat(), theirs.lstat()) or ours.is_symlink():
                continue
            alike = (
                theirs.is_file()
                and filecmp.cmp(ours, theirs, shallow=False)
                and ours.stat().st_mode == theirs.stat().st_mode
            )
            _replace(ours, theirs, link=alike)


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


def _source_files(tree: Path) -> Iterator[Path]:
    """Yield the files of a build tree without its objects, relative to it."""
    for folder, folders, names in os.walk(tree):
        here = Path(folder).relative_to(tree)
        if here == Path():
            folders[:] = [name for name in folders if name != OBJECTS]
        yield from (here / name for name in names)


def rebase_paths(objects: Path, old: str, new: str) -> None:
    """Rewrite absolute paths in kbuild's and the tools' records of how a file was made."""
    for record in objects.rglob(".*"):
        if record.suffix not in (".cmd", ".d") or not record.is_file():
            continue
        content = record.read_bytes()
        if old.encode() in content:
            record.write_bytes(content.replace(old.encode(), new.encode()))
