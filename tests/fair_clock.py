"""Ends a test that hangs, by a clock that slows down as far as other programs have the CPUs.

`timeout` in pyproject.toml counts by it. A busy machine is no defect of the code under test: a test
whose processes get a third of the processor time that they ask for has three times as long.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SAMPLE_S = 2.0


class FairClock(threading.Thread):
    """Counts from 0; after `limit_s` on this clock it fails the test in the main thread."""

    def __init__(self, limit_s: float, signal_test=None):
        super().__init__(name="fair clock", daemon=True)
        self.limit_s, self.now_s = limit_s, 0.0
        self._stopped = threading.Event()
        self._signal_test = signal_test or self._interrupt_main_thread

    def run(self) -> None:
        seen = _schedules(os.getpid())
        at = time.monotonic()
        while not self._stopped.wait(min(_SAMPLE_S, self.limit_s)):
            before, seen = seen, _schedules(os.getpid())
            began, at = at, time.monotonic()
            self.now_s += (at - began) * share(before, seen)
            if self.now_s >= self.limit_s:
                self._signal_test()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _interrupt_main_thread(self) -> None:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)


def share(before: dict[int, tuple[int, int]], after: dict[int, tuple[int, int]]) -> float:
    """Return the share of the requested CPU time that was received; 1 if none was requested.

    `before`, `after`: nanoseconds run and nanoseconds waited for a CPU, by thread.
    """
    ran = waited = 0
    for thread, (run_ns, wait_ns) in after.items():
        old_run_ns, old_wait_ns = before.get(thread, (0, 0))
        ran, waited = ran + run_ns - old_run_ns, waited + wait_ns - old_wait_ns
    return ran / (ran + waited) if ran + waited > 0 else 1.0


def _schedules(root: int) -> dict[int, tuple[int, int]]:
    """Return time run and time waited of each thread of process `root` and of all below it."""
    found = {}
    for process in _tree(root):
        for thread in _entries(Path(f"/proc/{process}/task")):
            try:
                run_ns, wait_ns, _ = (thread / "schedstat").read_text().split()
            except (OSError, ValueError):  # it has ended
                continue
            found[int(thread.name)] = (int(run_ns), int(wait_ns))
    return found


def _tree(process: int) -> Iterator[int]:
    yield process
    for thread in _entries(Path(f"/proc/{process}/task")):
        try:
            children = (thread / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def pytest_timeout_set_timer(item, settings) -> bool:
    def fail(_number, _frame):
        pytest.fail(f"hangs: not done after {settings.timeout:g} s of undisturbed time")

    item.fair_clock = FairClock(settings.timeout)
    item.replaced_handler = signal.signal(signal.SIGALRM, fail)
    item.fair_clock.start()
    return True


def pytest_timeout_cancel_timer(item) -> bool:
    if clock := getattr(item, "fair_clock", None):
        clock.stop()
        signal.signal(signal.SIGALRM, item.replaced_handler)
        del item.fair_clock
    return True
