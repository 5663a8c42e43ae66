"""Build trees: a linked copy of the source with the objects in a folder below it.

The objects lie in a direct child of the source, so that kbuild speaks of the source as `..`
(Makefile: `srctree := ..`): no compiler command holds an absolute path, and a copied tree is
up to date in its new place. What kbuild still writes absolutely (the tools' dependencies, above
all objtool's, on which every object depends) is rewritten by `rebase_paths`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

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
        return True
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir()
    return False


def rebase_paths(objects: Path, old: str, new: str) -> None:
    """Rewrite absolute paths in kbuild's and the tools' records of how a file was made."""
    for record in objects.rglob(".*"):
        if record.suffix not in (".cmd", ".d") or not record.is_file():
            continue
        content = record.read_bytes()
        if old.encode() in content:
            record.write_bytes(content.replace(old.encode(), new.encode()))
