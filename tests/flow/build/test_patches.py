import subprocess
from pathlib import Path

import pytest

from harness.build.patches import apply_patches, describe_rejection
from harness.errors import InputError
from harness.process import SubprocessRunner


def test_patches_apply_in_order(
    tmp_path: Path, toy_tree: Path, kernels: Path, runner: SubprocessRunner
) -> None:
    patch = (kernels / "two.patch").read_text()
    one, two = tmp_path / "one.patch", tmp_path / "two.patch"
    one.write_text(patch)
    two.write_text(patch.replace("return 2", "return 3").replace("return 1", "return 2"))
    apply_patches(toy_tree, [one, two], runner)
    assert "return 3" in (toy_tree / "mm/vmalloc.c").read_text()
    with pytest.raises(InputError, match=r"one\.patch .*mm/vmalloc\.c: the hunk at line 1"):
        apply_patches(toy_tree, [one], runner)


def test_of_a_folder_the_form_that_applies_is_taken(
    tmp_path: Path, toy_tree: Path, kernels: Path, runner: SubprocessRunner
) -> None:
    forms = tmp_path / "forms"
    forms.mkdir()
    patch = (kernels / "two.patch").read_text()
    (forms / "a.patch").write_text(patch.replace("return 1", "return 7"))
    (forms / "b.patch").write_text(patch)
    assert apply_patches(toy_tree, [forms], runner) == (forms / "b.patch",)
    assert "return 2" in (toy_tree / "mm/vmalloc.c").read_text()
    with pytest.raises(InputError, match=r"a\.patch: mm/vmalloc\.c: .*\n  b\.patch: mm/vmalloc"):
        apply_patches(toy_tree, [forms], runner)


def test_a_patch_applies_below_another_repository(
    tmp_path: Path, toy_tree: Path, kernels: Path, runner: SubprocessRunner
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    apply_patches(toy_tree, [kernels / "two.patch"], runner)
    assert "return 2" in (toy_tree / "mm/vmalloc.c").read_text()


def test_a_patch_leaves_linked_files_alone(
    tmp_path: Path, toy_tree: Path, kernels: Path, runner: SubprocessRunner
) -> None:
    (tmp_path / "pristine.c").hardlink_to(toy_tree / "mm/vmalloc.c")
    apply_patches(toy_tree, [kernels / "two.patch"], runner)
    assert "return 1" in (tmp_path / "pristine.c").read_text()


def test_a_patch_writes_nothing_outside(
    tmp_path: Path, toy_tree: Path, kernels: Path, runner: SubprocessRunner
) -> None:
    evil = "--- /dev/null\n+++ b/../evil\n@@ -0,0 +1 @@\n+evil\n"
    (tmp_path / "evil.patch").write_text(evil)
    with pytest.raises(InputError, match="evil"):
        apply_patches(toy_tree, [tmp_path / "evil.patch"], runner)
    assert not (tmp_path / "evil").exists()


def test_every_rejected_hunk_is_named() -> None:
    output = (
        "error: patch failed: mm/vmalloc.c:5176\nerror: mm/vmalloc.c: patch does not apply\n"
        "error: patch failed: mm/slab.c:12\nerror: mm/slab.c: patch does not apply\n"
    )
    assert describe_rejection(output) == (
        "mm/vmalloc.c: the hunk at line 5176 does not match; "
        "mm/slab.c: the hunk at line 12 does not match"
    )
    missing = "error: mm/gone.c: No such file or directory\n"
    assert describe_rejection(missing) == "error: mm/gone.c: No such file or directory"
