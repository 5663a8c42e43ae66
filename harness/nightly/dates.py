"""Which night it is, and what one night leaves to the next in the state."""

import datetime as dt
from collections.abc import Sequence

from harness.nightly.deadline import Clock
from harness.nightly.state import NightlyState, NightRecord, PairRecord
from harness.nightly.work import PlannedJob


def night_of(now: dt.datetime) -> str:
    """Return the date on which the night began: from noon to noon, in the clock's own zone."""
    return (now - dt.timedelta(hours=12)).date().isoformat()


def missed_nights(last: str, night: str) -> int:
    """Return how many nights lie between two dates."""
    if not last:
        return 0
    days = (dt.date.fromisoformat(night) - dt.date.fromisoformat(last)).days
    return max(0, days - 1)


def open_night(state: NightlyState, clock: Clock) -> NightRecord:
    """Return tonight's record; an earlier night that never ended is ended by it."""
    date = night_of(clock.now())
    if state.nights and state.nights[-1].date == date:
        return state.nights[-1]
    for night in state.nights:
        night.ended = night.ended or "cut short"
    state.nights.append(clock.begin(date))
    return state.nights[-1]


def forget_fixed(state: NightlyState, night: NightRecord) -> None:
    """Forget failures that did not come again, so that the next one is news."""
    for key in [key for key in state.told if key.startswith("failure|")]:
        if key.split("|")[1] not in night.failures and state.told[key] != night.date:
            del state.told[key]


def move_tips(state: NightlyState, works: Sequence[PlannedJob]) -> None:
    """Note how far each branch has been measured on every playbook."""
    for work in works:
        revision = work.revision
        if not revision.tip:
            continue
        ours = [w for w in works if w.revision.kernel == revision.kernel]
        stuck = _first_unmeasured(state, ours)
        if stuck is None or not any(w.revision.id == revision.id for w in ours[stuck:]):
            state.tips[revision.kernel] = revision.tip


def _first_unmeasured(state: NightlyState, works: Sequence[PlannedJob]) -> int | None:
    for number, work in enumerate(works):
        if state.pairs.get(work.job.key, PairRecord()).revision != work.job.revision:
            return number
    return None
