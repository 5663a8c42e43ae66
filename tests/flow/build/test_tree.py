import os
from dataclasses import replace
from pathlib import Path

from harness.build.patches import apply_patches
from harness.build.tree import (
    BaseTree,
    changed_files,
    inodes,
    populate_tree,
    rebase_paths,
    renew_differences,
)
from harness.process import SubprocessRunner


def test_a_tree_shares_its_source_and_keeps_the_times_of_its_objects(
    tmp_path: Path, toy_tree: Path, runner: SubprocessRunner
) -> None:
    base = BaseTree("k", tmp_path / "base", "/gone/tree")
    assert not populate_tree(toy_tree, base.tree, None, runner)
    made, record = base.tree / "objects/a.o", base.tree / "objects/tools/.a.o.cmd"
    record.parent.mkdir()
    made.write_text("object of /gone/tree")
    os.utime(made, ns=(1, 1_000_000_007))
    record.write_text("a.o: /gone/tree/tools/a.c /usr/include/a.h")

    copy = tmp_path / "copy"
    assert populate_tree(toy_tree, copy, base, runner)
    assert (copy / "Makefile").samefile(toy_tree / "Makefile")
    assert (copy / "objects/a.o").stat().st_mtime_ns == 1_000_000_007
    assert not (copy / "objects/a.o").samefile(made)
    assert (copy / "objects/a.o").read_text() == "object of /gone/tree"
    moved = (copy / "objects/tools/.a.o.cmd").read_text()
    assert moved == f"a.o: {copy}/tools/a.c /usr/include/a.h"
    assert "/gone/tree" in record.read_text()


def test_a_base_that_is_gone_is_done_without(
    tmp_path: Path, toy_tree: Path, runner: SubprocessRunner
) -> None:
    base = BaseTree("k", tmp_path / "nowhere", "/gone/tree")
    assert not populate_tree(toy_tree, tmp_path / "tree", base, runner)
    assert list((tmp_path / "tree/objects").iterdir()) == []


def test_only_records_are_rewritten(tmp_path: Path) -> None:
    for name in ("x.c", ".x.o.cmd", ".x.o.d", ".config"):
        (tmp_path / name).write_text("/old/y")
    rebase_paths(tmp_path, "/old", "/new")
    now = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert now == {"x.c": "/old/y", ".x.o.cmd": "/new/y", ".x.o.d": "/new/y", ".config": "/old/y"}


def test_the_mode_of_a_file_in_one_build_reaches_no_other(
    tmp_path: Path, toy_tree: Path, runner: SubprocessRunner
) -> None:
    patch = tmp_path / "mode.patch"
    patch.write_text("diff --git a/Makefile b/Makefile\nold mode 100644\nnew mode 100755\n")
    before = (toy_tree / "Makefile").stat().st_mode
    base = BaseTree("k", tmp_path / "base", "/gone/tree")
    populate_tree(toy_tree, base.tree, None, runner)
    apply_patches(base.tree, [patch], runner)
    assert (base.tree / "Makefile").stat().st_mode & 0o111
    assert (toy_tree / "Makefile").stat().st_mode == before
    for name, patched in (("next", None), ("last", ("Makefile",))):
        known = replace(base, patched=patched)
        populate_tree(toy_tree, tmp_path / name, known, runner)
        renew_differences(tmp_path / name, known, ())
        assert (tmp_path / name / "Makefile").stat().st_mode == before
        assert not (tmp_path / name / "Makefile").samefile(toy_tree / "Makefile")


def test_a_tree_of_the_same_source_shares_the_files_of_its_base(
    tmp_path: Path, toy_tree: Path, runner: SubprocessRunner
) -> None:
    """Where the base shares its own with a third tree, none has to be read to see that."""
    base = BaseTree("k", tmp_path / "base", "/gone/tree", ("mm/slab.c", "mm/new.c", "Kbuild"))
    populate_tree(toy_tree, base.tree, None, runner)
    for name in ("mm/slab.c", "mm/new.c", "mm/vmalloc.c"):
        (base.tree / name).unlink(missing_ok=True)
        (base.tree / name).write_text("another inode")
    (base.tree / "Kbuild").unlink()
    tree = tmp_path / "tree"
    assert populate_tree(toy_tree, tree, base, runner)
    before = inodes(tree)
    (tree / "lib/test_vmalloc.c").unlink()
    assert changed_files(before, inodes(tree)) == ["lib/test_vmalloc.c"]
    renew_differences(tree, base, ["lib/test_vmalloc.c"])
    assert (tree / "mm/vmalloc.c").samefile(base.tree / "mm/vmalloc.c")
    assert (tree / "mm/slab.c").read_text() == (toy_tree / "mm/slab.c").read_text()
    assert not (tree / "mm/slab.c").samefile(toy_tree / "mm/slab.c")
    assert (tree / "Kbuild").exists()
    assert not (tree / "mm/new.c").exists()
    assert "objects/a.o" not in inodes(tree)
