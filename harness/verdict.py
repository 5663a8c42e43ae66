"""What became of one boot. The worst verdict of a set is the set's verdict."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """Outcome of one boot, from best to worst; only `PASSED` yields samples.

    Until the kernel's first console line a fault is the infrastructure's (an exception), after it
    the kernel's (one of these).
    """

    PASSED = "passed"
    SKIPPED = "skipped"  # not run, for a stated reason
    NOISY = "noisy"  # the host was disturbed beyond the noise gate, or left a guest without time
    TEST_FAILED = "test failed"  # a case counted failures that are not expected
    SPLAT = "splat"  # the kernel warned (WARNING, lockdep, stall ...) and went on
    INCOMPLETE = "incomplete log"  # workers or cases are missing from the log, or CPUs
    MODULE_MISSING = "module missing"  # the guest could not load the module at all
    TIMED_OUT = "timed out"  # still talking at the deadline
    HUNG = "hung"  # silent for the grace period past the expected time
    CRASHED = "crashed"  # panic or oops
    NO_BOOT = "no boot"  # the kernel never reached the harness's init
    BUILD_FAILED = "build failed"
    INTERRUPTED = "interrupted"  # by the user, or the harness or the machine died
    MISSING = "missing"  # planned, and nothing was ever reported

    @property
    def bad(self) -> bool:
        """Whether something is wrong with the kernel or the run, beyond a disturbed host."""
        return self not in (Verdict.PASSED, Verdict.SKIPPED, Verdict.NOISY)

    @property
    def final(self) -> bool:
        """Whether a boot that ended so says something of the kernel, and need not be repeated."""
        return self not in (Verdict.NOISY, Verdict.INTERRUPTED)


_ORDER = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of `verdicts`; nothing reported is `MISSING`."""
    return max(verdicts, key=_ORDER.index, default=Verdict.MISSING)
