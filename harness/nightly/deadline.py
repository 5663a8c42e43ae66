"""Ends a nightly run in time: between two boots, never during one, and never before the first.

The budget is measured on a clock that nobody sets: the seconds since this machine started, sleep
included. The time of day only decides the date of the run.
"""

import datetime as dt
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.nightly.state import NightlyRecord
from harness.process import host_boot_id
from harness.records import BootRecord, JobRecord
from harness.run.observer import Observer


class DeadlineReached(Exception):  # noqa: N818 not an error: the rest is left to the next run
    """The budget is used up; the current measurement is resumed by the next nightly run."""


@functools.cache
def this_boot() -> str:
    """Return the kernel's name for this boot of the machine; empty where it has none."""
    try:
        return host_boot_id()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class Clock:
    """`now`: time of day, in the machine's time zone.

    `uptime_s`: seconds since the machine started; `boot_id`: which start that was.
    """

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now().astimezone()
    uptime_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    boot_id: Callable[[], str] = this_boot

    def begin(self, date: str) -> NightlyRecord:
        """Return the record of a nightly run that begins now."""
        began = self.now().isoformat(timespec="seconds")
        return NightlyRecord(date, began, uptime_s=self.uptime_s(), boot_id=self.boot_id())

    def elapsed_s(self, record: NightlyRecord) -> float:
        """Return how long ago `record` began, by time of day only where the machine restarted."""
        if record.boot_id and record.boot_id == self.boot_id():
            return self.uptime_s() - record.uptime_s
        return max(0.0, (self.now() - dt.datetime.fromisoformat(record.began)).total_seconds())


@dataclass
class Deadline(Observer):
    """An observer that forwards to another one, and raises DeadlineReached before a late boot.

    `left_s`: seconds until the deadline; the first boot always begins.
    """

    observer: Observer
    left_s: Callable[[], float]
    boots: int = 0

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        self.observer.planned(run_id, jobs, done)

    def boot_began(self, job: JobRecord, attempt: int) -> None:
        """Forward, or raise DeadlineReached past the deadline."""
        if self.boots and self.left_s() <= 0:
            raise DeadlineReached
        self.observer.boot_began(job, attempt)

    def phase(self, text: str) -> None:
        self.observer.phase(text)

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        self.boots += 1
        self.observer.boot_ended(job, record, left)
