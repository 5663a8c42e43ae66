"""Ends a nightly run at its deadline: between two boots, and not before the first one.

The budget is measured with CLOCK_BOOTTIME, which nobody can set and which includes suspend. The
time of day only decides the date of the run.
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


class DeadlineReached(Exception):  # noqa: N818 not an error: the next run resumes
    """The time budget is used up; the next nightly run resumes the current measurement."""


@functools.cache
def this_boot() -> str:
    """Return the kernel's boot_id of the running system; empty if it cannot be read."""
    try:
        return host_boot_id()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class Clock:
    """The clocks of a nightly run.

    `now`: time of day in the local time zone; `uptime_s`: seconds since the machine booted, suspend
    included; `boot_id`: identifies that boot.
    """

    now: Callable[[], dt.datetime] = lambda: dt.datetime.now().astimezone()
    uptime_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    boot_id: Callable[[], str] = this_boot

    def begin(self, date: str) -> NightlyRecord:
        """Return a new record of the nightly run of `date`, beginning now."""
        began = self.now().isoformat(timespec="seconds")
        return NightlyRecord(date, began, uptime_s=self.uptime_s(), boot_id=self.boot_id())

    def elapsed_s(self, record: NightlyRecord) -> float:
        """Return the seconds since `record` began; by time of day if the machine has rebooted."""
        if record.boot_id and record.boot_id == self.boot_id():
            return self.uptime_s() - record.uptime_s
        return max(0.0, (self.now() - dt.datetime.fromisoformat(record.began)).total_seconds())


@dataclass
class Deadline(Observer):
    """Forwards to another observer; raises DeadlineReached if a boot begins past the deadline.

    `left_s`: returns the seconds until the deadline. The first boot may always begin.
    """

    observer: Observer
    left_s: Callable[[], float]
    boots: int = 0

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        self.observer.planned(run_id, jobs, done)

    def boot_began(self, job: JobRecord, attempt: int) -> None:
        """Forward; raise DeadlineReached past the deadline."""
        if self.boots and self.left_s() <= 0:
            raise DeadlineReached
        self.observer.boot_began(job, attempt)

    def phase(self, text: str) -> None:
        self.observer.phase(text)

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        self.boots += 1
        self.observer.boot_ended(job, record, left)
