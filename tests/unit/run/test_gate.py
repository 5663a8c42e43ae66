"""What the boots of a gate say of a kernel, and how that reads."""

import json
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from harness.report.gate import FORMATS
from harness.run.gate import BY_CHECK, CHECKS, GateRow, judge_check, only
from harness.targets.base import BootResult
from harness.targets.gated import KCSAN, KMEMLEAK, failing_script, hotplug_script
from harness.testmod.ktap import parse_ktap
from harness.testmod.workload import Workload
from harness.verdict import Verdict

LOAD = Workload({"nr_threads": 1, "test_loop_count": 20}, ("fix_size_alloc_test",))
LINES = (
    "[    1.0] Summary: fix_size_alloc_test passed: {passed} failed: {failed} repeat: 1 "
    "loops: 20 avg: 10 usec\n[    1.0] All test took worker0=1000 cycles\n"
)
PASSED_LOG = LINES.format(passed=1, failed=0)
FAILED_LOG = LINES.format(passed=0, failed=1)
KASAN = "[    1.0] BUG: KASAN: slab-use-after-free in alloc_vmap_area+0x1/0x2\n"
LEAK = (
    'unreferenced object 0xffff888003a1c2c0 (size 64):\n  comm "vmalloc_test/0", pid 50\n'
    "  backtrace (crc 1):\n    __get_vm_area_node+0x60/0x1b0\n"
)
WATCHED = {KCSAN: "enabled: 1\nused_watchpoints: 0\nsetup_watchpoints: 1234\n"}
DENIED = "[    1.0] vmalloc_test/0: vmalloc error: size 4096, page order 0, failed to allocate\n"


def result(
    log: str = PASSED_LOG, verdict: Verdict = Verdict.PASSED, reason: str = "", **facts: Any
) -> BootResult:
    """Return what a boot gave whose kernel log is `log`."""
    return BootResult(
        verdict=verdict,
        reason=reason,
        kernel_log=log,
        load_ns=(1,),
        facts={"errors": [], "files": {}, **facts},
        reached_init=True,
        console=Path("console.log"),
        argv=(),
        elapsed_s=1.0,
    )


def judge(check: str, boot: BootResult) -> GateRow:
    """Return the row of a check with one load of one case."""
    ours = {"vfree", "alloc_vmap_area"}
    return judge_check(BY_CHECK[check], boot, [LOAD], Path("logs"), ours)


def test_a_kernel_that_says_nothing_passes() -> None:
    """Every case ran, and nothing was reported."""
    assert judge("memory", result()).verdict is Verdict.PASSED
    assert judge("races", result(files=WATCHED)).good


@pytest.mark.parametrize("check", ["memory", "failures", "hotplug", "races"])
def test_a_report_of_the_kernel_fails_any_check(check: str) -> None:
    """It is named, and the rest of the boot does not matter."""
    row = judge(check, result(KASAN + PASSED_LOG))
    assert (row.verdict, row.good) == (Verdict.SPLAT, False)
    assert row.reason == "reported: KASAN: use after free"


def test_a_report_before_a_hang_is_named_with_the_worse_verdict() -> None:
    """A kernel that deadlocks after lockdep's report hung, and why is said."""
    row = judge("memory", result(KASAN, Verdict.HUNG, "no output"))
    assert (row.verdict, row.reason) == (Verdict.HUNG, "reported: KASAN: use after free")


def test_a_leak_is_named_from_what_kmemleak_lists() -> None:
    """The kernel log has a count only; the list has where it was allocated."""
    row = judge("failures", result(FAILED_LOG, files={KMEMLEAK: LEAK}))
    assert row.reason == "reported: kmemleak object"
    assert "__get_vm_area_node" in row.findings[0].excerpt


def test_a_report_on_other_code_is_shown_and_does_not_count() -> None:
    """As far as it cannot be what a wrong access of vmalloc's did to others."""
    scheduler = (
        "[    1.0] WARNING: CPU: 1 PID: 20 at kernel/sched/core.c:8365 sched_cpu_dying+0x1/0x3\n"
        "[    1.0]  cpuhp_invoke_callback+0x21e/0x9b0\n"
    )
    row = judge("memory", result(scheduler + PASSED_LOG))
    assert (row.verdict, row.findings) == (Verdict.PASSED, ())
    assert "does not concern vmalloc" in FORMATS["text"]("mine", [row])
    ours = scheduler + "[    1.0]  vfree+0x21e/0x9b0\n"
    assert not judge("memory", result(ours + PASSED_LOG)).good
    foreign = "[    1.0] BUG: KASAN: slab-use-after-free in d_lookup+0x1/0x2\n"
    assert not judge("memory", result(foreign + PASSED_LOG)).good


def test_failures_that_were_made_are_excused_where_they_were_made() -> None:
    """What an allocation that failed makes the kernel say is a fault elsewhere."""
    assert judge("failures", result(DENIED + FAILED_LOG)).verdict is Verdict.PASSED
    assert judge("memory", result(DENIED + PASSED_LOG)).verdict is Verdict.SPLAT


def test_a_warning_that_an_object_was_not_to_be_had_is_excused_there_alone() -> None:
    """Linux warns where the split of a free area fails; elsewhere that is a fault."""
    cut = "[    1.0] ------------[ cut here ]------------\n"
    split = (
        cut
        + "[    1.0] WARNING: CPU: 1 PID: 47 at mm/vmalloc.c:1804 alloc_vmap_area+0xc5e/0x13c0\n"
    )
    assert judge("failures", result(split + FAILED_LOG)).verdict is Verdict.PASSED
    assert judge("memory", result(split + PASSED_LOG)).verdict is Verdict.SPLAT
    other = split.replace("alloc_vmap_area", "vfree")
    assert judge("failures", result(other + FAILED_LOG)).verdict is Verdict.SPLAT


def test_a_check_that_did_not_happen_has_not_passed() -> None:
    """No allocation failed; no CPU went; the kernel has no such interface; a load is missing."""
    assert "no allocation failed" in judge("failures", result()).reason
    stuck = {"path": "/sys/x", "written": "1", "failed": "5", "errno": "16"}
    assert judge("hotplug", result(toggled=[stuck])).reason == "never went offline: /sys/x"
    assert judge("hotplug", result()).verdict is Verdict.INCOMPLETE
    assert "could not be" in judge("memory", result(errors=["write x: No such file"])).reason
    idle = {KCSAN: "enabled: 0\nsetup_watchpoints: 0\n"}
    assert judge("races", result(files=idle)).reason == "KCSAN watched nothing"
    assert judge("memory", result("")).verdict is Verdict.INCOMPLETE
    assert judge("memory", result(FAILED_LOG)).verdict is Verdict.TEST_FAILED


def test_scripts_end_what_they_begin() -> None:
    """Injection ends before leaks are looked for, and every CPU is back."""
    failing = failing_script(["nr_threads=1"])
    assert failing.index("write /proc/2/make-it-fail 1") < failing.index("load nr_threads=1")
    assert failing[-3:] == [
        "write /proc/2/make-it-fail 0",
        "write /sys/kernel/debug/failslab/probability 0",
        "write /sys/kernel/debug/fail_page_alloc/probability 0",
    ]
    hotplug = hotplug_script(["nr_threads=1"], 4)
    assert [line.split()[2] for line in hotplug if line.startswith("toggle")] == [
        "/sys/devices/system/cpu/cpu1/online",
        "/sys/devices/system/cpu/cpu3/online",
    ]
    assert hotplug[-1] == "untoggle"


def test_each_format_says_the_same() -> None:
    """Text, JSON, KTAP and JUnit tell which checks failed, and of what."""
    rows = [
        judge("memory", result(KASAN + PASSED_LOG)),
        judge("races", result(files=WATCHED)),
        GateRow(BY_CHECK["model"], Verdict.SKIPPED, "no tracepoints", (), Path("logs")),
    ]
    text = FORMATS["text"]("mine", rows)
    assert text.startswith("mine fails: memory\n")
    assert "KASAN: slab-use-after-free in alloc_vmap_area" in text
    document = json.loads(FORMATS["json"]("mine", rows))
    assert [check["verdict"] for check in document["checks"]] == ["splat", "passed", "skipped"]
    assert not document["passed"]
    ktap = FORMATS["ktap"]("mine", rows)
    assert "not ok 1 memory" in ktap
    assert "ok 3 model # SKIP" in ktap
    assert parse_ktap(ktap)
    junit = JUnitXml.fromstring(FORMATS["junit"]("mine", rows).encode())
    assert (junit.tests, junit.failures, junit.skipped) == (3, 1, 1)


def test_checks_are_taken_by_name() -> None:
    """In the gate's order; none named is all."""
    assert [check.name for check in only(["races", "memory"])] == ["memory", "races"]
    assert only([]) == CHECKS
