"""The date of a nightly run, and what one run leaves to the next in the state."""

import datetime as dt
from collections.abc import Sequence

from harness.nightly.deadline import Clock
from harness.nightly.planned_job import PlannedJob
from harness.nightly.state import NightlyRecord, NightlyState, PairRecord


def nightly_date(now: dt.datetime) -> str:
    """Return the date of a nightly run: from noon to noon, in the clock's own zone."""
    return (now - dt.timedelta(hours=12)).date().isoformat()


def missed_runs(last: str, date: str) -> int:
    """Return how many nightly runs are missing between two dates."""
    if not last:
        return 0
    days = (dt.date.fromisoformat(date) - dt.date.fromisoformat(last)).days
    return max(0, days - 1)


def open_record(state: NightlyState, clock: Clock) -> NightlyRecord:
    """Return the record of this run; earlier ones that never ended are marked as cut short."""
    date = nightly_date(clock.now())
    if state.nights and state.nights[-1].date == date:
        return state.nights[-1]
    for record in state.nights:
        record.ended = record.ended or "cut short"
    state.nights.append(clock.begin(date))
    return state.nights[-1]


def forget_fixed(state: NightlyState, record: NightlyRecord) -> None:
    """Forget failures that did not recur, so that the next occurrence is reported again."""
    for key in [key for key in state.reported if key.startswith("failure|")]:
        if key.split("|")[1] not in record.failures and state.reported[key] != record.date:
            del state.reported[key]


def move_tips(state: NightlyState, planned: Sequence[PlannedJob]) -> None:
    """Note how far each branch has been measured on every playbook."""
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
