"""One module for both sides: the newer test_vmalloc in a kernel from before the series."""

from dataclasses import replace

import pytest

from harness.build.module import SOURCE, with_module_of
from harness.errors import InputError
from harness.process import SubprocessRunner
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import QemuTarget
from harness.testmod.log import parse_log
from harness.verdict import Verdict

ONLY_IN_THE_NEWER = 1024  # vm_map_ram_test


def test_the_baselines_module_runs_in_an_older_kernel(built, tmp_path):
    runner = SubprocessRunner()
    older, newer = built("linux-6.1"), built("vmap-nodes")
    kernel = with_module_of(older, newer, tmp_path / "cache", runner)
    assert kernel.module != older.module
    assert with_module_of(older, newer, tmp_path / "cache", runner) == kernel
    target = QemuTarget(QemuSpec(kind="qemu", accelerator="tcg"), tmp_path / "cache", runner)
    folder = tmp_path / "boot"
    folder.mkdir()
    load = f"nr_threads=2 run_test_mask={ONLY_IN_THE_NEWER} test_loop_count=100"
    result = target.boot(BootRequest(kernel, 2, (load,), 512, 20.0, folder), lambda _: None)
    assert result.verdict is Verdict.PASSED
    (run,) = parse_log(result.kernel_log)
    assert {summary.case for summary in run.summaries} == {"vm_map_ram_test"}


def test_kernels_of_one_source_keep_their_own(built, tmp_path):
    single, nodes = built("single-node"), built("vmap-nodes")
    assert with_module_of(single, nodes, tmp_path, SubprocessRunner()) is single


def test_a_module_that_does_not_compile_is_explained(built, tmp_path):
    kernel = built("vmap-nodes")
    text = (kernel.tree / SOURCE).read_text()
    broken = tmp_path / "tree" / SOURCE
    broken.parent.mkdir(parents=True)
    broken.write_text(
        text.replace("vm_map_ram_test", "renamed_test") + "\nint x = no_such_thing;\n"
    )
    with pytest.raises(InputError) as refused:
        with_module_of(kernel, replace(kernel, folder=tmp_path), tmp_path / "c", SubprocessRunner())
    words = str(refused.value)
    assert "no_such_thing" in words
    assert "a case more: vm_map_ram_test; no case renamed_test" in words
    assert not list((tmp_path / "c" / "modules").iterdir())
