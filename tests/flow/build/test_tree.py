import os
from pathlib import Path

from harness.build.patches import apply_patches
from harness.build.tree import BaseTree, lay_tree, rebase_paths
from harness.process import SubprocessRunner


def test_a_tree_shares_its_source_and_keeps_the_times_of_its_objects(
    tmp_path: Path, toy_tree: Path, runner: SubprocessRunner
) -> None:
    base = BaseTree("k", tmp_path / "base", "/gone/tree")
    assert not lay_tree(toy_tree, base.tree, None, runner)
    made, record = base.tree / "objects/a.o", base.tree / "objects/tools/.a.o.cmd"
    record.parent.mkdir()
    made.write_text("object of /gone/tree")
    os.utime(made, ns=(1, 1_000_000_007))
    record.write_text("a.o: /gone/tree/tools/a.c /usr/include/a.h")

    copy = tmp_path / "copy"
    assert lay_tree(toy_tree, copy, base, runner)
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
    assert not lay_tree(toy_tree, tmp_path / "tree", base, runner)
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
    lay_tree(toy_tree, base.tree, None, runner)
    apply_patches(base.tree, [patch], runner)
    assert (base.tree / "Makefile").stat().st_mode & 0o111
    assert (toy_tree / "Makefile").stat().st_mode == before
    lay_tree(toy_tree, tmp_path / "next", base, runner)
    assert (tmp_path / "next/Makefile").stat().st_mode == before
