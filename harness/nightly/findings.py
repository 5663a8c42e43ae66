"""What the store says of a night, as notices: verdicts on kernels, and changes over the nights."""

from collections.abc import Sequence

import pandas as pd

from harness.analysis.changepoints import LevelChange, find_changes
from harness.nightly.news import Subject, change_letters, series_key, verdict_letter
from harness.nightly.order import SETTLED
from harness.nightly.series import series_news, undecided
from harness.nightly.state import Letter, NightlyState, NightRecord, PairRecord
from harness.nightly.work import PlannedJob
from harness.report.collect import RunReport
from harness.spec.nightly import NightlySpec
from harness.store.history import load_history
from harness.store.store import Store
from harness.text import one_line
from harness.verdict import Verdict, worst


def run_news(
    report: RunReport,
    first: RunReport | None,
    work: PlannedJob,
    night: NightRecord,
    spec: NightlySpec,
    state: NightlyState,
) -> list[Letter]:
    """Return the news of one ended run: its kernels' verdicts, and a series' comparison.

    `first`: of a second run, the one whose difference it confirms or not.
    """
    revision, playbook = work.revision, work.playbook.name
    subject = _subject(work, night)
    page = f"{report.run.id}/index.html"
    bad = {
        kernel: found
        for kernel in (revision.baseline, revision.kernel)
        if (found := _bad_boots(report, kernel))
    }
    letters = []
    for kernel, (verdict, reason) in bad.items():
        who = subject if kernel == revision.kernel else Subject(kernel, kernel, night.date)
        what = revision.id if kernel == revision.kernel else ""
        told = verdict_letter(who, what, playbook, verdict.value, reason)
        letters.append(told)
        night.worse = night.worse or told.key not in state.told
    if revision.series and series_key(subject, revision.id, playbook) not in state.told:
        pair, series = state.pairs[work.job.key], None
        if not bad and report.comparison is not None:
            series = series_news(report, first, work, subject, pair, night)
        elif pair.claim is not None:
            series = undecided(work, subject, pair, "a boot failed in each")
        letters += _on_series(series, spec, state, night)
    for letter in letters:
        letter.page = page
    return letters


def fruitless(
    work: PlannedJob,
    pair: PairRecord,
    reason: str,
    night: NightRecord,
    spec: NightlySpec,
    state: NightlyState,
) -> list[Letter]:
    """Return the notice on a series whose second run failed once too often."""
    told = undecided(work, _subject(work, night), pair, one_line(reason, 200))
    return _on_series(told, spec, state, night)


def _on_series(
    told: tuple[Letter, bool] | None, spec: NightlySpec, state: NightlyState, night: NightRecord
) -> list[Letter]:
    """Return the notice on a series; what is no news is noted, so no later night judges it."""
    if told is None:
        return []
    letter, difference = told
    night.worse = night.worse or letter.worse
    if difference or spec.notices.verdicts:
        return [letter]
    state.told[letter.key] = night.date
    return []


def night_news(
    store: Store, state: NightlyState, works: Sequence[PlannedJob], night: NightRecord
) -> list[Letter]:
    """Return the changes of level that tonight's runs settled.

    Of baselines and branches: a series is judged against its base, once.
    """
    history = load_history(store)
    baselines = sorted({work.revision.baseline for work in works})
    lines = {work.revision.kernel for work in works if not work.revision.series} | set(baselines)
    history = history[history["line"].isin(lines)]
    if history.empty:
        return []
    dates = history[["run_id", "started_at"]].drop_duplicates()
    nights = {date: n for n, date in enumerate(sorted(set(dates["started_at"].str[:10])))}
    order = {
        run: nights[at[:10]] for run, at in zip(dates["run_id"], dates["started_at"], strict=True)
    }
    newest = max(order.values())
    changes = [c for c in find_changes(history) if newest - order[c.found_run] <= SETTLED]
    subjects = {work.revision.kernel: _subject(work, night) for work in works}
    subjects = {
        line: Subject(
            s.name, s.title, s.night, s.message_id, _context(store, changes, line, history)
        )
        for line, s in subjects.items()
    }
    letters = change_letters(changes, order, state.told, subjects, baselines)
    for letter in letters:
        letter.page = f"{_last_run(history, letter)}/index.html"
        night.worse = night.worse or letter.worse
    return letters


def _last_run(history: pd.DataFrame, letter: Letter) -> str:
    """Return the newest run of the line that a change was found in: its page has the figures."""
    ours = history[history["line"] == letter.key.split("|")[1]].sort_values("started_at")
    return str(ours["run_id"].iloc[-1])


def _context(
    store: Store, changes: Sequence[LevelChange], line: str, history: pd.DataFrame
) -> tuple[str, ...]:
    """Return what was measured before and since the first change of a line."""
    ours = [change for change in changes if change.series.line == line]
    if not ours:
        return ()
    first = min(ours, key=lambda change: change.at)
    runs = history[history["line"] == line].sort_values("started_at")["run_id"].unique().tolist()
    place = runs.index(first.at_run)
    before = [_summary(store, run, line) for run in runs[max(0, place - 1) : place]]
    return (
        *(f"Before: {words}" for words in before),
        f"Since:  {_summary(store, first.at_run, line)}",
        "",
        "Which commit it was: vmapbench bisect GOOD BAD PLAYBOOK",
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


def _subject(work: PlannedJob, night: NightRecord) -> Subject:
    revision = work.revision
    context = ("New since the last night:", *(f"  {line}" for line in revision.commits))
    return Subject(
        revision.kernel,
        revision.title,
        night.date,
        revision.message_id,
        context if revision.commits else (),
    )
