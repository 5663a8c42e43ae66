"""The order of jobs in a nightly run that is too short for all. Pure.

The rule, as docs/howto/nightly.md states it: first what needs its second run, then what was never
measured and is half done, then what was never measured, the longest waiting first, then what was
measured so few times that a change could not be confirmed yet, then what was not measured for
longest. Each comes once in a nightly run, except for a second run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.nightly.state import PairRecord

SETTLED = 7  # runs within which most changes are found; see docs/explanation/history.md


@dataclass(frozen=True)
class Job:
    """One candidate on one playbook. `key`: of the pair; `expected_s`: of boots alone."""

    key: str
    revision: str
    expected_s: float

    @property
    def done(self) -> str:
        """What stands in `NightlyRecord.done` for it."""
        return f"{self.key} {self.revision}"


def ranked(jobs: Iterable[Job], pairs: dict[str, PairRecord], done: Iterable[str]) -> list[Job]:
    """Return the remaining jobs of this run, the most informative first."""
    finished = set(done)
    at = {job: pairs.get(job.key, PairRecord()) for job in jobs}
    left = [job for job, pair in at.items() if job.done not in finished or repeats_now(job, pair)]
    return sorted(left, key=lambda job: _rank(job, at[job]))


def needs_second_run(job: Job, pair: PairRecord) -> bool:
    """Return whether the next run of a job is the one that confirms a claim."""
    return pair.claim is not None and pair.revision == job.revision


def repeats_now(job: Job, pair: PairRecord) -> bool:
    """Return whether a job is repeated in the nightly run of its first measurement."""
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
    """Return whether a job may begin: the first always may, or a long one would never run."""
    expected_s = pair.elapsed_s if pair and pair.elapsed_s else job.expected_s
    return left_s > 0 and (first or expected_s <= left_s)
