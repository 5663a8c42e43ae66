"""What a kernel log is worth whose module prints otherwise than the harness reads."""

from pathlib import Path

import pytest

from harness.run.judge import blame_host, judge_boot
from harness.targets.base import BootResult
from harness.targets.outcome import Ending
from harness.testmod.catalogue import CONDITIONS, STALLS
from harness.testmod.verdicts import scan_console
from harness.testmod.workload import Workload
from harness.verdict import Verdict

SUMMARY = "[ 9.1] Summary: {} passed: 1 failed: 0 xfailed: 0 repeat: 1 loops: 20 avg: 495 usec\n"
TOTAL = "[ 9.2] All test took worker0=123456 cycles\n"
CASES = ("fix_size_alloc_test",)


def judged(kernel_log):
    load = Workload({"nr_threads": 1, "test_loop_count": 20}, CASES)
    passed = BootResult(
        Verdict.PASSED, "", kernel_log, (1,), {"cpus": 1}, True, Path("console"), ("qemu",), 1.0
    )
    return judge_boot(passed, load, (), 1)


def test_a_log_as_it_is_read_gives_samples():
    verdict, _, samples = judged(SUMMARY.format(CASES[0]) + TOTAL)
    assert verdict is Verdict.PASSED
    assert [sample.avg_us for sample in samples] == [495]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[ 9.1] fix_size_alloc_test: ok 1 of 1, 495 us\n", "fix_size_alloc_test: ok 1 of 1"),
        (SUMMARY.format(CASES[0]).replace("usec", "nsec"), "avg: 495 nsec"),
        (SUMMARY.format(CASES[0]).replace("failed: 0", "failed: 0 skipped: 0"), "skipped: 0"),
    ],
)
def test_a_result_in_a_form_that_nobody_knows_is_quoted_and_no_number(line, told):
    verdict, reason, samples = judged(line)
    assert (verdict, samples) == (Verdict.INCOMPLETE, ())
    assert told in reason
    verdict, _, samples = judged(line + TOTAL)
    assert (verdict, samples) == (Verdict.INCOMPLETE, ())


def test_a_case_that_was_not_asked_for_is_named():
    """The module's description of run_test_mask may leave out a case, or number them otherwise."""
    log = SUMMARY.format(CASES[0]) + SUMMARY.format("walk_alloc_test") + TOTAL
    verdict, reason, samples = judged(log)
    assert (verdict, samples) == (Verdict.INCOMPLETE, ())
    assert reason == "the log has unexpected cases: walk_alloc_test"


STALL = "[ 21.7] watchdog: BUG: soft lockup - CPU#1 stuck for 59s! [swapper/1:0]\n"
WARNING = "[ 22.0] WARNING: CPU: 1 PID: 0 at mm/vmalloc.c:2000 free_vmap_area+0x1/0x2\n"


@pytest.mark.parametrize(
    ("verdict", "ending", "log", "guest_s", "blamed"),
    [
        (Verdict.HUNG, Ending.SILENT, "", 50, True),
        (Verdict.NO_BOOT, Ending.NOT_READY, "", 50, True),
        (Verdict.TIMED_OUT, Ending.DEADLINE, "", 50, True),
        (Verdict.SPLAT, Ending.POWERED_OFF, STALL, 50, True),
        (Verdict.HUNG, Ending.SILENT, "", 90, False),
        (Verdict.SPLAT, Ending.POWERED_OFF, STALL, 90, False),
        (Verdict.SPLAT, Ending.POWERED_OFF, WARNING + STALL, 50, False),
        (Verdict.CRASHED, Ending.SILENT, "", 50, False),
        (Verdict.NO_BOOT, Ending.RESET, "", 50, False),
        (Verdict.TIMED_OUT, Ending.FLOOD, "", 50, False),
        (Verdict.PASSED, Ending.POWERED_OFF, "", 50, False),
    ],
)
def test_what_a_guest_without_cpu_time_does_late_says_nothing_of_its_kernel(
    verdict, ending, log, guest_s, blamed
):
    facts = {"ending": ending.value, "guest_s": guest_s}
    result = BootResult(verdict, "", log, (), facts, True, Path("console"), ("qemu",), 100.0)
    said = blame_host(verdict, result, scan_console(log), "")
    assert said == ("the guest got 50% of the CPU time it needed" if blamed else "")


def test_stalls_are_rows_of_the_catalogue():
    assert {row.name for row in CONDITIONS} >= STALLS
