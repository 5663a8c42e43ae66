"""Makes as many boots as it takes to show a change of a given size: a pilot, then the rest.

    ended = session.run(file, run_id=run_id)                # the pilot
    more = plan_more(session, run_id, Detect(0.03, 1200.0))
    ended = extend_within(session, run_id, more, Detect(0.03, 1200.0), file)

The pilot's boots count. Only their spread within each side is used for planning, never the
difference of the sides, so that the verdict is as valid as with a fixed number of boots (Wittes and
Brittain 1990).
"""

import contextlib
import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from harness.analysis.planning import required_boots
from harness.analysis.times import Metric, boot_times
from harness.errors import InputError
from harness.files import replace_file
from harness.records import BootRecord
from harness.run.plan import plan_jobs
from harness.run.session import RunResult, Session
from harness.spec.document import parse_document
from harness.spec.playbook import Playbook
from harness.verdict import Verdict

POWER = 0.8  # probability of showing the change
_MOST = 1000  # boots of a side that a playbook may ask for


@dataclass(frozen=True)
class Detect:
    """The change to show, as a fraction, and the time limit of all boots together."""

    effect: float
    within_s: float


@dataclass(frozen=True)
class More:
    """Planned boots per side. `pilot`: boots so far; `reason`: explanation, as text."""

    pilot: int
    repeats: int
    reason: str


def plan_more(session: Session, run_id: str, detect: Detect) -> More:
    """Return how many boots per side show the change, as far as the time limit allows."""
    with contextlib.closing(session.open_store()) as store:
        plan, boots = store.load_run(run_id).plan, store.boots(run_id)
        samples, frame = store.samples_frame(run_id), store.boots_frame(run_id)
    pilot = int(plan["repeats"])
    times = boot_times(samples, frame[frame["verdict"] == Verdict.PASSED.value])
    try:
        rows = required_boots(times, detect.effect, POWER, float(plan["smallest_effect"]))
    except InputError as error:
        return More(pilot, pilot, str(error).partition("\n")[0])
    rows = rows[rows["metric"] != Metric.MAX]
    needed = None if rows["boots"].isna().any() else int(rows["boots"].max())
    affordable = pilot + _affordable(boots, pilot, detect.within_s)
    repeats = max(pilot, min(needed or _MOST, affordable, _MOST))
    takes = f"over {_MOST}" if needed is None or needed > _MOST else str(needed)
    text = (
        f"{detect.effect:.1%} takes {takes} boots of each side: those of the pilot spread by "
        f"{rows['spread'].max():.1%}, planned for {rows['upper_spread'].max():.1%}"
    )
    if (needed or _MOST + 1) > repeats:
        within = f"there is time for {repeats} in {detect.within_s / 60:.3g} min"
        text += f"; {within}, which show only a larger change"
    return More(pilot, repeats, text)


def refuse_too_small(detect: Detect, playbook: Playbook) -> None:
    """Raise InputError for a change below the smallest effect, which is never reported."""
    if detect.effect <= playbook.smallest_effect:
        larger = max(0.01, 2 * playbook.smallest_effect)
        raise InputError(
            f"--detect: a change of {detect.effect:.2%} is not reported: nothing up to "
            f"{playbook.smallest_effect:.2%} is called faster or slower\n"
            f"  next: name a larger one, such as --detect {larger:.0%}"
        )


def extend_within(
    session: Session, run_id: str, more: More, detect: Detect, file: Path
) -> RunResult | None:
    """Continue a run until each side has `more.repeats` boots or the time is up.

    Half of the boots that there is time for are made at once, since boots become slower on a busy
    machine. Stopping depends on the clock only, never on the measurements. Returns None if there
    was no time for any boot.
    """
    done, ended = more.pilot, None
    while done < more.repeats and not (ended and ended.interrupted):
        with contextlib.closing(session.open_store()) as store:
            room = _affordable(store.boots(run_id), done, detect.within_s)
        if not room:
            break
        done = min(more.repeats, done + max(1, room // 2))
        ended = extend_run(session, run_id, done, file)
    return ended


def extend_run(session: Session, run_id: str, repeats: int, file: Path) -> RunResult:
    """Continue a run until each side has `repeats` boots; `file` becomes its playbook.

    The existing boots are the first ones of the longer plan.
    """
    with contextlib.closing(session.open_store()) as store:
        record = store.load_run(run_id)
        playbook = with_repeats(record.playbook, repeats, record.plan["name"])
        known = len(store.jobs(run_id))
        plan = {**record.plan, **playbook.model_dump(mode="json", exclude={"text"})}
        store.extend_run(run_id, plan_jobs(playbook)[known:], {}, (playbook.text, plan))
    replace_file(file, playbook.text)
    return session.resume(run_id)


def with_repeats(text: str, repeats: int, name: str) -> Playbook:
    """Return the playbook `text` with another number of boots, comments included."""
    yaml, stream = YAML(), io.StringIO()
    document = yaml.load(text)
    document["repeats"] = repeats
    yaml.dump(document, stream)
    changed = stream.getvalue()
    return parse_document(changed, Playbook, f"{name}.yaml", name=name, text=changed)


def _affordable(boots: Sequence[BootRecord], repeats: int, within_s: float) -> int:
    """Return how many more repeats fit into the time at the pace so far."""
    spent_s = _span_s(boots)
    return max(0, int((within_s - spent_s) / (spent_s / repeats)))


def _span_s(boots: Sequence[BootRecord]) -> float:
    """Return the seconds from the beginning of the first boot to the end of the last one."""
    began = [dt.datetime.fromisoformat(boot.started_at).timestamp() for boot in boots]
    ended = [at + boot.elapsed_s for at, boot in zip(began, boots, strict=True)]
    return max(1.0, max(ended, default=0.0) - min(began, default=0.0))
