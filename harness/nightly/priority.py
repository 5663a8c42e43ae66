"""The order of jobs in a nightly run that has not time for all of them. Pure.

The rule, as docs/howto/nightly.md states it: jobs that need a second run come first, then new ones
that were begun and not finished, other new ones by waiting time, those measured fewer than
`SETTLED` times, and then the rest by the time since they were last measured. Each job runs once in
a nightly run, except for a second run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.nightly.state import PairRecord

SETTLED = 7  # runs within which most changes are found; see docs/explanation/history.md


@dataclass(frozen=True)
class Job:
    """A candidate on a playbook.

    `key`: names that pair; `revision`: `Revision.id`; `expected_s`: of the boots, without builds.
    """

    key: str
    revision: str
    expected_s: float

    @property
    def done(self) -> str:
        """The entry in `NightlyRecord.done` once the job has finished."""
        return f"{self.key} {self.revision}"


def ranked(jobs: Iterable[Job], pairs: dict[str, PairRecord], done: Iterable[str]) -> list[Job]:
    """Return the jobs that remain in this run, in the order of the rule above.

    `pairs`: by `Job.key`; `done`: the run's `NightlyRecord.done`.
    """
    finished = set(done)
    at = {job: pairs.get(job.key, PairRecord()) for job in jobs}
    left = [job for job, pair in at.items() if job.done not in finished or repeats_now(job, pair)]
    return sorted(left, key=lambda job: _rank(job, at[job]))


def needs_second_run(job: Job, pair: PairRecord) -> bool:
    """Return whether the next run of a job is to confirm a claim on the same revision."""
    return pair.claim is not None and pair.revision == job.revision


def repeats_now(job: Job, pair: PairRecord) -> bool:
    """Return whether a second run may follow in the same nightly run: none has been tried yet."""
    return needs_second_run(job, pair) and pair.claim is not None and not pair.claim.tries


def _rank(job: Job, pair: PairRecord) -> tuple[int, str, str]:
    if needs_second_run(job, pair):
        return (-1, pair.night, job.key)
    if pair.revision != job.revision:
        begun = pair.begun and pair.begun_revision == job.revision
        return (0 if begun else 1, pair.waiting_since or "9999", job.key)
    if pair.nights < SETTLED:
        return (2, pair.night, job.key)
    return (3, pair.night, job.key)


def fits(job: Job, pair: PairRecord | None, left_s: float, first: bool) -> bool:
    """Return whether a job may begin with `left_s` seconds left.

    The `first` job may always begin, as one that takes longer than the budget would never run.
    """
    expected_s = pair.elapsed_s if pair and pair.elapsed_s else job.expected_s
    return left_s > 0 and (first or expected_s <= left_s)
