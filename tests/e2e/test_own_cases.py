"""vmapbench's own modules in real guests: their cases, their timing, and fragmented memory."""

import re
from dataclasses import replace

import pytest

from harness.build.module import with_own_modules
from harness.process import SubprocessRunner
from harness.run.judge import judge_boot
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import QemuTarget
from harness.testmod.latency import parse_latencies
from harness.testmod.own import CASES, cases_module
from harness.testmod.workload import check_workload
from harness.verdict import Verdict

ALL = {"nr_threads": 2, "run_test_mask": 63, "test_loop_count": 300, "nr_pages": 3}


@pytest.fixture
def boot(built, tmp_path):
    runner = SubprocessRunner()
    spec = QemuSpec(kind="qemu", accelerator="tcg")
    target = QemuTarget(spec, tmp_path / "cache", runner)

    def boot(name, load, fragment=""):
        kernel = with_own_modules(built(name), tmp_path / "cache", runner)
        kernel = replace(kernel, module=kernel.own_modules / f"{CASES}.ko")
        folder = tmp_path / "boot"
        folder.mkdir()
        words = check_workload(load, cases_module()).render_parameters()
        request = BootRequest(kernel, 2, (words,), 512, 30.0, folder, fragment=fragment)
        return target.boot(request, lambda _: None)

    return boot


@pytest.mark.parametrize("name", ["linux-6.1", "vmap-nodes"])
def test_every_case_runs_and_every_call_is_timed(boot, name):
    workload = check_workload({**ALL, "time_calls": True}, cases_module())
    result = boot(name, dict(workload.parameters))
    verdict, reason, samples = judge_boot(result, workload, [], 2)
    assert (verdict, reason) == (Verdict.PASSED, "")
    assert len(samples) == 2 * len(workload.cases)
    times = {(row["case"], row["call"]): row for row in parse_latencies(result.kernel_log)}
    assert len(times) == 2 * len(workload.cases)
    assert times["remote_free_test", "free"]["calls"] == 600
    assert all(row["p50"] > 0 for row in times.values())


def test_memory_is_fragmented_as_asked_and_stays_so(boot):
    result = boot("vmap-nodes", {**ALL, "run_test_mask": 1}, "order=4 percent=80")
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    first, before, *later = result.facts["memory"]
    assert first["moment"] == "unfragmented"
    taken, kept = map(int, re.search(r"took (\d+) pages, kept (\d+)", result.kernel_log).groups())
    assert kept == pytest.approx(taken / 16, rel=0.1)
    for reading in (before, *later):
        assert large(reading) < 0.4 * large(first)


def large(reading):
    """Pages that are free in blocks of 16 pages and more."""
    return sum(count << order for order, count in enumerate(reading["free_blocks"]) if order >= 4)


def test_memory_that_cannot_be_fragmented_as_asked_is_no_measurement(boot):
    result = boot("vmap-nodes", {**ALL, "run_test_mask": 1}, "order=99")
    assert result.verdict is Verdict.MODULE_MISSING
    assert "fragments memory failed with EINVAL" in result.reason
