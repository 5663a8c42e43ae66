"""A clock for deadlines that slows down when other programs take CPU time from the guest."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_WINDOW_S = 0.5  # schedstat counts a wait when it ends, so shorter windows would miss long ones


class GuestClock:
    """Host time, scaled in each window by the share of CPU time that the guest received.

    The share is relative to what its vCPU threads would have received on an idle host: the time in
    which they ran or waited for a core, at most that of all cores. It is 1 for a sleeping guest.
    """

    def __init__(
        self,
        pid: int,
        threads: Sequence[int],
        cores: int,
        now: Callable[[], float] = time.monotonic,
    ):
        """`threads`: ids of the vCPU threads of process `pid`; `cores`: how many they may use."""
        self._pid, self._threads, self._now = pid, threads, now
        self._parallel = min(cores, len(threads))
        self._guest_s, self._since = 0.0, now()
        self.ran_ns, self.waited_ns = self._read()

    def elapsed_s(self) -> float:
        """Return the seconds of the guest's time since the clock was created, in whole windows."""
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
    """Return the share (0 to 1) of the CPU time that a guest would have received without others.

    `got_ns`, `waited_ns`: its threads ran and waited so long; `most_ns`: time of all its cores.
    """
    due_ns = min(most_ns, got_ns + waited_ns)
    return min(1.0, max(0.0, got_ns) / due_ns) if due_ns > 0 else 1.0
