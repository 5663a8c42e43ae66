"""JUnit XML: a test suite per kernel, a test case per planned boot."""

from typing import BinaryIO

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from harness.records import JobRecord, StoredRun
from harness.store.store import Store
from harness.text import escaped
from harness.verdict import Verdict

_OUTCOMES = {
    Verdict.SKIPPED: Skipped,
    Verdict.NOISY: Skipped,
    Verdict.MISSING: Error,
    Verdict.INTERRUPTED: Error,
}


def write(stored: StoredRun, _store: Store, stream: BinaryIO) -> None:
    """Write the verdicts; a bad kernel is a failure, trouble of the machine or harness an error."""
    document = JUnitXml(escaped(stored.run.id))
    for kernel in dict.fromkeys(job.kernel for job in stored.jobs):
        suite = TestSuite(escaped(f"{stored.run.id}.{kernel}"))
        suite.timestamp = stored.run.started_at
        for job in stored.jobs:
            if job.kernel == kernel:
                suite.add_testcase(_case(stored, job))
        document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    document.write(stream)


def _case(stored: StoredRun, job: JobRecord) -> TestCase:
    verdict, reason = stored.outcome(job)
    boot = stored.last_boots.get(job.position)
    case = TestCase(
        escaped(f"{job.workload} boot {job.position}"),
        classname=escaped(f"vmapbench.{job.kernel}"),
        time=boot.elapsed_s if boot else 0.0,
    )
    if verdict is not Verdict.PASSED:
        outcome = _OUTCOMES.get(verdict, Failure)
        case.result = [outcome(escaped(f"{verdict}: {reason}"), type_=verdict.value)]
    if boot:
        case.system_out = escaped(f"logs: {boot.folder}")
    return case
