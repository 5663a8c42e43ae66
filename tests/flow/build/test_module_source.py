"""Parameters and cases of the test module, read from a source of each kind."""

import shutil
import tarfile
from pathlib import Path

import pytest

from harness.build.module_source import source_module
from harness.errors import SpecError
from harness.run.session import check_playbook
from tests.flow.test_bisect_toy import git

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "data" / "test_vmalloc-6.12-parameters.c").read_text()
PATCH = "--- a/lib/test_vmalloc.c\n+++ b/lib/test_vmalloc.c\n"
PLAYBOOK = """\
version: 1
kernels: [mine]
baseline: mine
target: {kind: qemu}
workloads:
  - name: w
    parameters:
      nr_threads: 2
      run_test_mask: 4096
      test_loop_cuont: 5
"""


@pytest.fixture
def tree(tmp_path):
    tree = Path(shutil.copytree(ROOT / "toy_kernel", tmp_path / "linux-6.99"))
    (tree / "lib/test_vmalloc.c").write_text(SOURCE)
    return tree


def as_tree(tree):
    return {"tree": str(tree)}


def as_commit(tree):
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "First")
    (tree / "lib/test_vmalloc.c").unlink()
    return {"git": str(tree), "ref": "HEAD"}


def as_tarball(tree):
    archive = tree.parent / "linux.tar.xz"
    with tarfile.open(archive, "w:xz") as made:
        made.add(tree, tree.name)
    return {"tarball": str(archive)}


@pytest.mark.parametrize("kind", [as_tree, as_commit, as_tarball])
def test_each_kind_of_source_says_what_its_module_takes(tree, toy, cache, runner, kind):
    spec = toy(source=kind(tree))
    module = source_module(spec, cache, runner)
    assert "test_loop_count" in module.parameters
    assert module.cases["vm_map_ram_test"] == 1024
    assert not cache.place("sources", "x").parent.is_dir() or not list(
        cache.place("sources", "x").parent.iterdir()
    )


def test_where_only_a_build_can_tell_nothing_is_said(tree, toy, cache, runner, kernels):
    (kernels / "case.patch").write_text(PATCH)
    assert source_module(toy(source=as_tree(tree), patches=("case.patch",)), cache, runner) is None
    assert source_module(toy(source={"tree": "/nowhere"}), cache, runner) is None
    (tree / "lib/test_vmalloc.c").write_text("module_param(other, int, 0);")
    assert source_module(toy(source=as_tree(tree)), cache, runner) is None
    away = {"git": "https://example.invalid/linux.git", "ref": "v6.12"}
    assert source_module(toy(source=away), cache, runner) is None


def test_check_names_the_line_of_a_parameter_that_the_source_lacks(tree, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"version: 1\nsource: {{tree: {tree}}}\n")
    file = tmp_path / "typo.yaml"
    file.write_text(PLAYBOOK)
    with pytest.raises(SpecError, match="10: w on mine: test_loop_cuont: not a parameter"):
        check_playbook(file, tmp_path)
    file.write_text(PLAYBOOK.replace("cuont", "count"))
    with pytest.raises(SpecError, match="9: w on mine: run_test_mask: 4096 selects no case"):
        check_playbook(file, tmp_path)
    file.write_text(PLAYBOOK.replace("cuont", "count").replace("4096", "1024"))
    assert check_playbook(file, tmp_path) == 3
