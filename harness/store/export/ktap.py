"""KTAP version 1: a test per planned boot, a subtest per case of the module.

The format is in the kernel's Documentation/dev-tools/ktap.rst.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

import pandas as pd

from harness.records import JobRecord, Sample, StoredRun
from harness.store.store import Store
from harness.testmod.log import unexpected_failures
from harness.text import escaped_line
from harness.verdict import Verdict

_DIRECTIVES = {
    Verdict.SKIPPED: " # SKIP",
    Verdict.NOISY: " # SKIP too noisy",
    Verdict.TIMED_OUT: " # TIMEOUT",
    Verdict.INTERRUPTED: " # ERROR",
    Verdict.MISSING: " # ERROR never booted",
}


def write(stored: StoredRun, store: Store, stream: BinaryIO) -> None:
    """Write the verdicts; a diagnostic line before a bad one has its reason."""
    samples = store.samples_frame(stored.run.id)
    cases: dict[object, pd.DataFrame] = dict(iter(samples.groupby("boot")))
    last = {boot.position: number for number, boot in enumerate(stored.boots)}
    stream.write(f"KTAP version 1\n# run: {escaped_line(stored.run.id)}\n".encode())
    stream.write(f"1..{len(stored.jobs)}\n".encode())
    for number, job in enumerate(stored.jobs, start=1):
        lines = [*_cases(cases.get(last.get(job.position))), *_boot(stored, job, number)]
        stream.write(("\n".join(lines) + "\n").encode())


def _boot(stored: StoredRun, job: JobRecord, number: int) -> Iterator[str]:
    verdict, reason = stored.outcome(job)
    for line in reason.splitlines():
        yield f"# {escaped_line(line)}"
    good = verdict in (Verdict.PASSED, Verdict.SKIPPED, Verdict.NOISY)
    name = _name(f"{job.kernel} {job.workload} boot {job.position}")
    yield f"{'' if good else 'not '}ok {number} {name}{_DIRECTIVES.get(verdict, '')}"


def _cases(samples: pd.DataFrame | None) -> Iterator[str]:
    if samples is None:
        return
    grouped = list(samples.groupby("case", observed=True, sort=False))
    yield "  KTAP version 1"
    yield f"  1..{len(grouped)}"
    for number, (case, rows) in enumerate(grouped, start=1):
        failed = int(rows["failed"].sum())
        repeat = int(rows["repeat"].sum())
        whole = Sample(0, str(case), repeat - failed, failed, None, repeat, 0, 0)
        expected = " # XFAIL" if failed and not unexpected_failures([whole]) else ""
        yield f"  # {case}: mean over {len(rows)} workers {rows['avg_us'].mean():.0f} usec a pass"
        yield f"  {'not ' if failed else ''}ok {number} {case}{expected}"


def _name(text: str) -> str:
    """Return a test's name in one line and without `#`, which begins a directive."""
    return re.sub("#", "%", escaped_line(text))
