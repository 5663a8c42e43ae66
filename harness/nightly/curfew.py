"""Ends a night in time: between two boots, never in one, and never before the first."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from harness.records import BootRecord, JobRecord
from harness.run.execute import Observer


class TimeUp(Exception):  # noqa: N818 it is no error: what is left waits for the next night
    """The night is over; the run under way goes on in the next one."""


@dataclass
class Curfew:
    """An observer that tells another one, and lets no boot begin after `until`."""

    observer: Observer
    clock: Callable[[], dt.datetime]
    until: dt.datetime
    boots: int = 0

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        """See `harness.run.execute.Observer`."""
        self.observer.planned(run_id, jobs, done)

    def boot_began(self, job: JobRecord, attempt: int) -> None:
        """See `harness.run.execute.Observer`. Raises TimeUp."""
        if self.boots and self.clock() >= self.until:
            raise TimeUp
        self.observer.boot_began(job, attempt)

    def phase(self, words: str) -> None:
        """See `harness.run.execute.Observer`."""
        self.observer.phase(words)

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        """See `harness.run.execute.Observer`."""
        self.boots += 1
        self.observer.boot_ended(job, record, left)
