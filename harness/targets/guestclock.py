"""The clock for deadlines, which runs only as fast as other programs let the guest run."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_WINDOW_S = 0.5  # a wait is counted when it ends, so shorter windows would misjudge long ones


class GuestClock:
    """Host time, but of each window only the share of CPU time that the guest got of its due.

    Its due is what its vCPU threads would have got alone: what they asked for (running and waiting
    for a core), at most all the cores that they may use. A guest that sleeps gets its due.
    """

    def __init__(
        self,
        pid: int,
        threads: Sequence[int],
        cores: int,
        now: Callable[[], float] = time.monotonic,
    ):
        """`threads`: of the vCPUs, of process `pid`. `cores`: that they may run on together."""
        self._pid, self._threads, self._now = pid, threads, now
        self._parallel = min(cores, len(threads))
        self._guest_s, self._since = 0.0, now()
        self.ran_ns, self.waited_ns = self._read()

    def elapsed_s(self) -> float:
        """Return the guest's time since the clock was made, in seconds, of whole windows."""
        window_s = self._now() - self._since
        if window_s >= _WINDOW_S:
            ran_ns, waited_ns = self._read()
            got, waited = ran_ns - self.ran_ns, waited_ns - self.waited_ns
            self._guest_s += window_s * share_got(got, waited, window_s * 1e9 * self._parallel)
            self._since += window_s
            self.ran_ns, self.waited_ns = ran_ns, waited_ns
        return self._guest_s

    def _read(self) -> tuple[int, int]:
        """Return how long the threads have run and waited, in ns (proc(5), schedstat)."""
        ran_ns = waited_ns = 0
        for thread in self._threads:
            with contextlib.suppress(OSError, IndexError, ValueError):
                path = Path(f"/proc/{self._pid}/task/{thread}/schedstat")
                ran, waited, *_ = map(int, path.read_text(encoding="ascii").split())
                ran_ns, waited_ns = ran_ns + ran, waited_ns + waited
        return ran_ns, waited_ns


def share_got(got_ns: float, waited_ns: float, most_ns: float) -> float:
    """Return which share of its due a guest got, 0 to 1. `most_ns`: with all its cores. Pure."""
    due_ns = min(most_ns, got_ns + waited_ns)
    return min(1.0, max(0.0, got_ns) / due_ns) if due_ns > 0 else 1.0
