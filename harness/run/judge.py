"""Decides the verdict of a boot from its log, and extracts its samples."""

from collections.abc import Sequence
from pathlib import Path

from harness.records import Sample
from harness.targets.base import BootResult
from harness.targets.outcome import Ending
from harness.testmod.catalogue import STALLS, Severity
from harness.testmod.latency import missing_latencies, parse_latencies
from harness.testmod.log import missing_lines, parse_log, unexpected_failures
from harness.testmod.prefix import message_of
from harness.testmod.verdicts import Finding, verdict_of
from harness.testmod.workload import Workload
from harness.verdict import Verdict

_OUT_OF_TIME = {ending.value for ending in Ending if ending.out_of_time}


def read_console(console: Path) -> str:
    """Return the text of a kernel's console; empty if the target has none."""
    return console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""


def judge_boot(
    result: BootResult, workload: Workload, findings: Sequence[Finding], cpus: int
) -> tuple[Verdict, str, tuple[Sample, ...]]:
    """Return the verdict on a boot from its log, the reason, and the samples of its last load.

    A kernel that warned, or that runs on fewer than `cpus`, gives no samples.
    """
    if result.verdict is not Verdict.PASSED or result.kernel_log is None:
        return result.verdict, result.reason, ()
    online = int(result.facts.get("cpus", cpus))
    if online < cpus:
        return Verdict.INCOMPLETE, f"the kernel runs on {online} of {cpus} CPUs, see its log", ()
    runs = parse_log(result.kernel_log)
    if not runs:
        return Verdict.INCOMPLETE, _nothing_read(result.kernel_log, workload.cases), ()
    run = runs[-1]
    missing = missing_lines(run, workload.nr_threads, workload.cases)
    if missing:
        more = f" (and {len(missing) - 3} more)" if len(missing) > 3 else ""
        return Verdict.INCOMPLETE, "; ".join(missing[:3]) + more, ()
    if missing := missing_latencies(parse_latencies(result.kernel_log), workload):
        return Verdict.INCOMPLETE, "; ".join(missing[:3]), ()
    odd = [item for item in run.summaries if not _as_asked(item, workload)]
    if odd:
        return Verdict.INCOMPLETE, f"the log has unexpected counts: {odd[0]}", ()
    if unasked := [case for case in run.cases if case not in workload.cases]:
        return Verdict.INCOMPLETE, f"the log has unexpected cases: {', '.join(unasked)}", ()
    samples = run.summaries
    if verdict_of(findings) is not Verdict.PASSED:
        named = [item.name for item in findings if item.severity is not Severity.NOTE]
        return verdict_of(findings), f"the kernel reported: {', '.join(named[:5])}", samples
    failures = unexpected_failures(run.summaries)
    if failures:
        return Verdict.TEST_FAILED, "; ".join(failures[:3]), samples
    return Verdict.PASSED, "", samples


FAIR_SHARE = 2 / 3  # of the CPU time that a guest asked for


def blame_host(
    verdict: Verdict, result: BootResult, findings: Sequence[Finding], excess: str
) -> str:
    """Return why the host, not the kernel, is to blame for `verdict`; empty if it is not.

    `excess`: which limits of disturbance the host exceeded; then a boot that passed is noisy. A
    boot that timed out, or whose kernel reported only stalls, also is if the guest was starved.
    """
    if verdict is Verdict.PASSED:
        return excess
    reported = {item.name for item in findings if item.severity is not Severity.NOTE}
    stalled = verdict is Verdict.SPLAT and reported <= STALLS
    late = verdict is not Verdict.CRASHED and result.facts.get("ending") in _OUT_OF_TIME
    if not stalled and not late:
        return ""
    share = float(result.facts.get("guest_s", result.elapsed_s)) / max(result.elapsed_s, 1e-9)
    starved = "" if share >= FAIR_SHARE else f"the guest got {share:.0%} of the CPU time it needed"
    return excess or starved


def _nothing_read(kernel_log: str, cases: Sequence[str]) -> str:
    """Return why a log has no results, with the line that may be one in a new form."""
    for line in kernel_log.splitlines():
        if any(case in line for case in cases):
            return (
                "no result of test_vmalloc was recognised; this line names a case, and may be one "
                f"in a new format: {message_of(line).strip()[:200]}"
            )
    return "no line of test_vmalloc in the kernel log"


def _as_asked(summary: Sample, workload: Workload) -> bool:
    """Return whether a summary has the loops of the workload and a result for each pass."""
    results = summary.passed + summary.failed + (summary.xfailed or 0)
    asked = (workload.loops, workload.repeats)
    return (summary.loops, summary.repeat) == asked and results == summary.repeat
