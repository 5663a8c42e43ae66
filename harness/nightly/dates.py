"""The date of a nightly run, and what it leaves in the state for the next one."""

import datetime as dt
from collections.abc import Sequence

from harness.nightly.deadline import Clock
from harness.nightly.planned_job import PlannedJob
from harness.nightly.state import NightlyRecord, NightlyState, PairRecord


def nightly_date(now: dt.datetime) -> str:
    """Return the date of a nightly run at `now`: a run before noon belongs to the day before."""
    return (now - dt.timedelta(hours=12)).date().isoformat()


def missed_runs(last: str, date: str) -> int:
    """Return the number of days between two ISO dates, both excluded; 0 if `last` is empty."""
    if not last:
        return 0
    days = (dt.date.fromisoformat(date) - dt.date.fromisoformat(last)).days
    return max(0, days - 1)


def open_record(state: NightlyState, clock: Clock) -> NightlyRecord:
    """Return the record of the current run, new or resumed; mark older unfinished ones as such."""
    date = nightly_date(clock.now())
    if state.nights and state.nights[-1].date == date:
        return state.nights[-1]
    for record in state.nights:
        record.ended = record.ended or "cut short"
    state.nights.append(clock.begin(date))
    return state.nights[-1]


def forget_fixed(state: NightlyState, record: NightlyRecord) -> None:
    """Remove failures that did not recur from `reported`, so that a new one is reported again."""
    for key in [key for key in state.reported if key.startswith("failure|")]:
        if key.split("|")[1] not in record.failures and state.reported[key] != record.date:
            del state.reported[key]


def move_tips(state: NightlyState, planned: Sequence[PlannedJob]) -> None:
    """Set the tip of each branch to the last commit that has been measured on every playbook."""
    for work in planned:
        revision = work.revision
        if not revision.tip:
            continue
        ours = [w for w in planned if w.revision.kernel == revision.kernel]
        stuck = _first_unmeasured(state, ours)
        if stuck is None or not any(w.revision.id == revision.id for w in ours[stuck:]):
            state.tips[revision.kernel] = revision.tip


def _first_unmeasured(state: NightlyState, planned: Sequence[PlannedJob]) -> int | None:
    for number, work in enumerate(planned):
        if state.pairs.get(work.job.key, PairRecord()).revision != work.job.revision:
            return number
    return None
