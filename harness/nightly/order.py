"""Which job comes first in a night that is too short for all. Pure.

The rule, as docs/nightly.md states it: first what was never measured and is half done, then what
was never measured, the longest waiting first, then what was measured in so few nights that a change
could not be settled yet, then whatever was not measured for longest. Each comes once a night.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.nightly.state import PairRecord

SETTLED = 7  # nights within which most steps are found; see docs/history.md


@dataclass(frozen=True)
class Job:
    """One candidate on one playbook. `key`: of the pair; `expected_s`: of boots alone."""

    key: str
    revision: str
    expected_s: float


def ranked(jobs: Iterable[Job], pairs: dict[str, PairRecord], done: Iterable[str]) -> list[Job]:
    """Return the jobs that are left tonight, the most informative first."""
    finished = set(done)
    left = [job for job in jobs if f"{job.key} {job.revision}" not in finished]
    return sorted(left, key=lambda job: _rank(job, pairs.get(job.key, PairRecord())))


def _rank(job: Job, pair: PairRecord) -> tuple[int, str, str]:
    if pair.revision != job.revision:
        begun = pair.begun and pair.begun_revision == job.revision
        return (0 if begun else 1, pair.waiting_since or "9999", job.key)
    if pair.nights < SETTLED:
        return (2, pair.night, job.key)
    return (3, pair.night, job.key)


def fits(job: Job, pair: PairRecord | None, left_s: float, first: bool) -> bool:
    """Return whether a job may begin: the night's first always may, or none would ever end."""
    expected_s = pair.elapsed_s if pair and pair.elapsed_s else job.expected_s
    return left_s > 0 and (first or expected_s <= left_s)
