"""Makes notices from the results of a nightly run: verdicts on kernels, changes of level."""

from collections.abc import Sequence

import pandas as pd

from harness.analysis.changepoints import LevelChange, find_changes
from harness.nightly.notices import Subject, change_notices, series_key, verdict_notice
from harness.nightly.planned_job import PlannedJob
from harness.nightly.priority import SETTLED
from harness.nightly.series import judge_series, undecided
from harness.nightly.state import NightlyRecord, NightlyState, Notice, PairRecord
from harness.report.collect import RunReport
from harness.spec.nightly import NightlySpec
from harness.store.history import load_history
from harness.store.store import Store
from harness.text import one_line
from harness.verdict import Verdict, worst


def run_notices(
    report: RunReport,
    first: RunReport | None,
    work: PlannedJob,
    record: NightlyRecord,
    spec: NightlySpec,
    state: NightlyState,
) -> list[Notice]:
    """Return the notices of a finished run: bad verdicts of kernels, and comparisons of series.

    `first`: if `report` is a second run, the run whose difference it is to confirm.
    """
    revision, playbook = work.revision, work.playbook.name
    subject = _subject(work, record)
    page = f"{report.run.id}/index.html"
    bad = {
        kernel: found
        for kernel in (revision.baseline, revision.kernel)
        if (found := _bad_boots(report, kernel))
    }
    notices = []
    for kernel, (verdict, reason) in bad.items():
        who = subject if kernel == revision.kernel else Subject(kernel, kernel, record.date)
        what = revision.id if kernel == revision.kernel else ""
        notices.append(verdict_notice(who, what, playbook, verdict.value, reason))
        record.worse = record.worse or notices[-1].key not in state.reported
    if revision.series and series_key(subject, revision.id, playbook) not in state.reported:
        pair, series = state.pairs[work.job.key], None
        if not bad and report.comparison is not None:
            series = judge_series(report, first, work, subject, pair, record)
        elif pair.claim is not None:
            series = undecided(work, subject, pair, "a boot failed in each")
        notices += _on_series(series, spec, state, record)
    for notice in notices:
        notice.page = page
    return notices


def gate_notice(
    work: PlannedJob, reason: str, record: NightlyRecord, state: NightlyState
) -> Notice:
    """Return the notice that a kernel failed the gate and is not measured."""
    subject = _subject(work, record)
    notice = verdict_notice(subject, work.revision.id, "gate", "not correct", reason)
    record.worse = record.worse or notice.key not in state.reported
    return notice


def unconfirmed_notices(
    work: PlannedJob,
    pair: PairRecord,
    reason: str,
    record: NightlyRecord,
    spec: NightlySpec,
    state: NightlyState,
) -> list[Notice]:
    """Return the notice on a series whose second run has failed `MOST_TRIES` times, if it has."""
    found = undecided(work, _subject(work, record), pair, one_line(reason, 200))
    return _on_series(found, spec, state, record)


def _on_series(
    found: tuple[Notice, bool] | None,
    spec: NightlySpec,
    state: NightlyState,
    record: NightlyRecord,
) -> list[Notice]:
    """Return the notice on a series; without a difference only if the file asks for `verdicts`."""
    if found is None:
        return []
    notice, difference = found
    record.worse = record.worse or notice.worse
    if difference or spec.notices.verdicts:
        return [notice]
    state.reported[notice.key] = record.date
    return []


def history_notices(
    store: Store, state: NightlyState, planned: Sequence[PlannedJob], record: NightlyRecord
) -> list[Notice]:
    """Return notices on the changes of level that this nightly run confirmed.

    Only baselines and branches have a history; a series is judged once, against its base.
    """
    history = load_history(store)
    baselines = sorted({work.revision.baseline for work in planned})
    lines = {work.revision.kernel for work in planned if not work.revision.series} | set(baselines)
    history = history[history["line"].isin(lines)]
    if history.empty:
        return []
    dates = history[["run_id", "started_at"]].drop_duplicates()
    days = {date: n for n, date in enumerate(sorted(set(dates["started_at"].str[:10])))}
    order = {
        run: days[at[:10]] for run, at in zip(dates["run_id"], dates["started_at"], strict=True)
    }
    newest = max(order.values())
    changes = [c for c in find_changes(history) if newest - order[c.found_run] <= SETTLED]
    subjects = {work.revision.kernel: _subject(work, record) for work in planned}
    subjects = {
        line: Subject(
            s.name, s.title, s.date, s.message_id, _context(store, changes, line, history)
        )
        for line, s in subjects.items()
    }
    notices = change_notices(changes, order, state.reported, subjects, baselines)
    for notice in notices:
        notice.page = f"{_last_run(history, notice)}/index.html"
        record.worse = record.worse or notice.worse
    return notices


def _last_run(history: pd.DataFrame, notice: Notice) -> str:
    """Return the id of the newest run of the kernel line that a notice is about."""
    ours = history[history["line"] == notice.key.split("|")[1]].sort_values("started_at")
    return str(ours["run_id"].iloc[-1])


def _context(
    store: Store, changes: Sequence[LevelChange], line: str, history: pd.DataFrame
) -> tuple[str, ...]:
    """Return lines that name the kernels before and since the first change of a kernel line."""
    ours = [change for change in changes if change.series.line == line]
    if not ours:
        return ()
    first = min(ours, key=lambda change: change.at)
    runs = history[history["line"] == line].sort_values("started_at")["run_id"].unique().tolist()
    place = runs.index(first.at_run)
    before = [_summary(store, run, line) for run in runs[max(0, place - 1) : place]]
    return (
        *(f"Before: {text}" for text in before),
        f"Since:  {_summary(store, first.at_run, line)}",
        "",
        "To find the commit: vmapbench bisect GOOD BAD PLAYBOOK",
    )


def _summary(store: Store, run_id: str, line: str) -> str:
    return str(store.load_run(run_id).kernels.get(line, {}).get("summary", ""))


def _bad_boots(report: RunReport, kernel: str) -> tuple[Verdict, str] | None:
    positions = {job.position for job in report.jobs if job.kernel == kernel}
    verdict = worst([v for position, v in report.verdicts.items() if position in positions])
    if not verdict.bad:
        return None
    boots = [boot for boot in report.boots if boot.position in positions]
    return verdict, next((boot.reason for boot in boots if boot.verdict is verdict), "")


def _subject(work: PlannedJob, record: NightlyRecord) -> Subject:
    revision = work.revision
    context = ("New since the last nightly run:", *(f"  {line}" for line in revision.commits))
    return Subject(
        revision.kernel,
        revision.title,
        record.date,
        revision.message_id,
        context if revision.commits else (),
    )
