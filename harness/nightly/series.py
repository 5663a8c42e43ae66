"""Notices on series: a difference is reported only after a second run has confirmed it.

A single run shows a difference in up to 5 % of the series that change nothing;
docs/howto/nightly.md has the rates with and without a second run.
"""

from collections.abc import Sequence

import pandas as pd

from harness.analysis.judging import Word, claimed, confirmed
from harness.analysis.times import Metric
from harness.nightly.notices import Subject, difference_text, series_key, series_notice
from harness.nightly.planned_job import PlannedJob
from harness.nightly.state import Claim, NightlyRecord, Notice, PairRecord
from harness.report.collect import RunReport
from harness.report.text import render_mail
from harness.report.view import View
from harness.text import wrapped

MOST_TRIES = 3  # inconclusive second runs after which a series is reported as undecided


def judge_series(
    report: RunReport,
    first: RunReport | None,
    work: PlannedJob,
    subject: Subject,
    pair: PairRecord,
    record: NightlyRecord,
) -> tuple[Notice, bool] | None:
    """Return the notice on a series and whether it shows a difference; None if a second run has to
    decide first.

    `first`: the run that made `pair.claim`, None without a claim. Sets or removes `pair.claim`.
    """
    assert report.comparison is not None
    rows = report.comparison.rows
    verdicts = [Word(word) for word in rows.loc[rows["metric"] != Metric.MAX, "word"]]
    key = series_key(subject, work.revision.id, work.playbook.name)
    text = render_mail(View(report))
    if first is None or first.comparison is None or pair.claim is None:
        if shown := list(claimed(rows)["word"]):
            pair.claim = Claim(report.run.id, record.date, difference_text(shown))
            return None
        return series_notice(key, subject, verdicts, text), False
    found = confirmed(first.comparison.rows, rows)
    again = found[found["confirmed"]]
    if again.empty and bool(found["p_again"].isna().any()):
        return undecided(work, subject, pair, "it could not be compared")
    runs = [f"First run:  {pair.claim.run_id}, nightly run of {pair.claim.night}"]
    runs += [f"Second run: {report.run.id}, nightly run of {record.date}", ""]
    lines = [*_both_runs(found, pair.claim), "", *runs, "The second run:", ""]
    pair.claim = None
    said = [Word(word) for word in again["word"]] or [Word.NO_DIFFERENCE]
    return series_notice(key, subject, said, text, lines), not again.empty


def undecided(
    work: PlannedJob, subject: Subject, pair: PairRecord, reason: str
) -> tuple[Notice, bool] | None:
    """Count an inconclusive second run; return the notice if it was the last try, else None."""
    claim = pair.claim
    assert claim is not None
    claim.tries += 1
    if claim.tries < MOST_TRIES:
        return None
    pair.claim = None
    key = series_key(subject, work.revision.id, work.playbook.name)
    text = (
        f"The run {claim.run_id} of {claim.night} shows it {claim.words}. {claim.tries} second "
        f"runs could neither confirm nor refute that: {reason}."
    )
    return series_notice(key, subject, [Word.NOT_COMPARABLE], "\n".join(wrapped(text))), True


def _both_runs(found: pd.DataFrame, claim: Claim) -> Sequence[str]:
    """Return lines with the results of both runs for each row in which the first differs."""
    count = int(found["confirmed"].sum())
    head = (
        f"The first run shows {len(found)} rows {claim.words}; the second, independent run "
        f"confirms {count}. Figures are the baseline's time / the time with the series (below 1 is "
        "slower) in the first run and in the second one, with its 95 % interval:"
    )
    lines = [*wrapped(head), ""]
    for row in found.itertuples(index=False):
        what = f"{row.case}, {row.workload}, {row.nr_threads} threads"
        figures = f"{row.first_ratio:.3f}, then {row.ratio:.3f} ({row.low:.3f} - {row.high:.3f})"
        end = "confirmed" if row.confirmed else "not confirmed"
        lines += wrapped(f"{what}: {figures}, {end}", indent=2)
    return lines
