"""The events of a run, for display and for limits."""

from harness.records import BootRecord, JobRecord


class Observer:
    """Receives the events of a run; every method does nothing unless it is overridden."""

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        """`jobs` boots are planned, `done` of them are in the store already.

        A run that plans as it goes (a bisection) calls this again for each job.
        """

    def boot_began(self, job: JobRecord, attempt: int) -> None:
        """A boot begins; `attempt` counts from 1."""

    def phase(self, text: str) -> None:
        """A boot in progress enters a phase."""

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        """A boot has ended and is stored; `left` jobs have no final verdict yet."""
