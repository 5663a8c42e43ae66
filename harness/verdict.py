"""The verdict on a boot. The verdict on a set of boots is the worst of theirs."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """Outcome of one boot, from best to worst; only `PASSED` yields samples.

    A fault before the kernel's first console line is one of the infrastructure (an exception);
    after that it is the kernel's (a verdict).
    """

    PASSED = "passed"
    SKIPPED = "skipped"  # not run, for a stated reason
    NOISY = "noisy"  # the host was disturbed beyond the limits, or gave the guest too little CPU
    TEST_FAILED = "test failed"  # a case reported unexpected failures
    SPLAT = "splat"  # the kernel warned (WARNING, lockdep, stall ...) and went on
    INCOMPLETE = "incomplete log"  # workers, cases or CPUs are missing from the log
    MODULE_MISSING = "module missing"  # the guest could not load the module at all
    TIMED_OUT = "timed out"  # still printing at the deadline
    HUNG = "hung"  # silent for the grace period past the expected time
    CRASHED = "crashed"  # panic or oops
    NO_BOOT = "no boot"  # the kernel never reached the harness's init
    BUILD_FAILED = "build failed"
    INTERRUPTED = "interrupted"  # by the user, or the harness or the machine died
    MISSING = "missing"  # planned, but never reported

    @property
    def bad(self) -> bool:
        """Whether the kernel or the run failed; a disturbed host alone is not bad."""
        return self not in (Verdict.PASSED, Verdict.SKIPPED, Verdict.NOISY)

    @property
    def final(self) -> bool:
        """Whether this says something about the kernel, so that the boot is not repeated."""
        return self not in (Verdict.NOISY, Verdict.INTERRUPTED)


_ORDER = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of `verdicts`, `MISSING` if there is none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.MISSING)
