"""What the store says of a night, as notices: verdicts on kernels, and changes over the nights."""

from collections.abc import Sequence

import pandas as pd

from harness.analysis.changepoints import Change, find_changes
from harness.analysis.judging import Word
from harness.analysis.times import Metric
from harness.nightly.news import Subject, change_letters, series_letter, verdict_letter
from harness.nightly.order import SETTLED
from harness.nightly.state import Letter, NightRecord, State
from harness.nightly.work import Work
from harness.report.collect import RunReport
from harness.report.text import render_mail
from harness.report.view import View
from harness.spec.nightly import NightlySpec
from harness.store.history import load_history
from harness.store.store import Store
from harness.verdict import Verdict, worst


def run_news(
    report: RunReport, work: Work, night: NightRecord, spec: NightlySpec, state: State
) -> list[Letter]:
    """Return the news of one ended run: its kernels' verdicts, and a series' comparison."""
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
    if revision.series and not bad and report.comparison is not None:
        rows = report.comparison.rows
        words = [Word(word) for word in rows.loc[rows["metric"] != Metric.MAX, "word"]]
        letter = series_letter(subject, revision.id, playbook, words, render_mail(View(report)))
        night.worse = night.worse or (letter.worse and letter.key not in state.told)
        if {Word.FASTER, Word.SLOWER} & set(words) or spec.notices.verdicts:
            letters.append(letter)
        else:
            state.told.setdefault(letter.key, night.date)  # quiet; a later night does not judge it
    for letter in letters:
        letter.page = page
    return letters


def night_news(
    store: Store, state: State, works: Sequence[Work], night: NightRecord
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
    store: Store, changes: Sequence[Change], line: str, history: pd.DataFrame
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


def _subject(work: Work, night: NightRecord) -> Subject:
    revision = work.revision
    context = ("New since the last night:", *(f"  {line}" for line in revision.commits))
    return Subject(
        revision.kernel,
        revision.title,
        night.date,
        revision.message_id,
        context if revision.commits else (),
    )
