"""Composes notices, and the keys by which each is made only once. Pure.

`NightlyState.reported` holds the keys of the notices that were made. Changes of level in several
cases and thread counts of a kernel line, in one direction and within `SETTLED` runs, are one
change.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.changepoints import Direction, LevelChange
from harness.analysis.judging import Word
from harness.nightly.priority import SETTLED
from harness.nightly.state import Notice
from harness.text import wrapped

_SHOWN = 12  # rows in a notice; the page has all


@dataclass(frozen=True)
class Subject:
    """The kernel that a notice is about. `context`: lines on where a change may come from."""

    name: str
    title: str
    date: str
    message_id: str = ""
    context: tuple[str, ...] = ()


def change_notices(
    changes: Sequence[LevelChange],
    order: Mapping[str, int],
    reported: Mapping[str, str],
    subjects: Mapping[str, Subject],
    baselines: Sequence[str],
) -> list[Notice]:
    """Return a notice for each change that has not been reported, those of baselines first.

    `order`: number of the day of each run; `reported`: as in `NightlyState`; `subjects`: by kernel
    line. A change that a baseline shows as well is one of the machine and gives a single notice.
    """
    known = [_reported_change(key) for key in reported if key.startswith("change|")]
    notices = []
    for line in sorted(
        {change.series.line for change in changes}, key=lambda x: x not in baselines
    ):
        for direction in Direction:
            news = [c for c in changes if (c.series.line, c.direction) == (line, direction)]
            fresh = [c for c in news if not _follows(c, known, order, baselines)]
            if not fresh:
                continue
            first = min(fresh, key=lambda change: order.get(change.at_run, 0))
            subject = subjects.get(line, Subject(line, line, first.at[:10]))
            key = f"change|{line}|{direction}|{first.series.host}|{first.at_run}"
            known.append(_reported_change(key))
            notices.append(_change_notice(key, fresh, subject, line in baselines))
    return notices


def _reported_change(key: str) -> tuple[str, str, str, str]:
    _, line, direction, host, run = key.split("|")
    return line, direction, host, run


def _follows(
    change: LevelChange,
    known: Iterable[tuple[str, str, str, str]],
    order: Mapping[str, int],
    baselines: Sequence[str],
) -> bool:
    """Return whether a change has already been reported, for its own line or for a baseline."""
    at = order.get(change.at_run, 0)
    for line, direction, host, run in known:
        same = (direction, host) == (change.direction, change.series.host)
        ours = line == change.series.line or line in baselines
        if same and ours and run in order and abs(order[run] - at) <= SETTLED:
            return True
    return False


def _change_notice(
    key: str, changes: Sequence[LevelChange], subject: Subject, machine: bool
) -> Notice:
    largest = max(changes, key=lambda change: abs(change.size_percent))
    title = f"{subject.name} is {largest.direction}: {_size(largest)} since {largest.at[:10]}"
    lines = wrapped(f"{title}; confirmed by the nightly run of {subject.date}.")
    if machine:
        lines += [
            "",
            *wrapped("This is the baseline, which has not changed: check the machine."),
        ]
    lines += ["", "  change    95 % interval       since       what"]
    for change in sorted(changes, key=lambda c: -abs(c.size_percent))[:_SHOWN]:
        interval = f"{change.low_percent:+.1f} to {change.high_percent:+.1f} %"
        what = f"{change.series.case}, {change.series.workload}, {change.series.nr_threads} threads"
        lines.append(f"  {change.size_percent:+6.1f} %  {interval:<18}  {change.at[:10]}  {what}")
    if len(changes) > _SHOWN:
        lines.append(f"  and {len(changes) - _SHOWN} more")
    lines += ["", "Percentages are of the time before; positive is slower."]
    lines += ["", *subject.context] if subject.context else []
    worse = largest.direction is Direction.SLOWER
    return Notice(key, title, "\n".join(lines), subject.date, worse=worse)


def _size(change: LevelChange) -> str:
    return f"{change.size_percent:+.1f} % in {change.series.case}"


def series_key(subject: Subject, revision: str, playbook: str) -> str:
    """Return the key of the notice on a series. `revision`: the `id` of its `Revision`."""
    return f"series|{subject.name}|{revision}|{playbook}"


def series_notice(
    key: str, subject: Subject, verdicts: Sequence[str], text: str, runs: Sequence[str] = ()
) -> Notice:
    """Return the notice with the verdict on a series.

    `key`: from `series_key`; `verdicts`: of the rows of the comparison; `text`: the comparison as
    text for a mail; `runs`: lines on the first and the second run, if there were two.
    """
    playbook = key.rpartition("|")[2]
    lines = [*wrapped(f"Measured: {subject.title}."), "", *runs, text]
    return Notice(
        key=key,
        title=f"{subject.name} {_summary_of(verdicts)} ({playbook})",
        text="\n".join(lines),
        date=subject.date,
        worse=Word.SLOWER in verdicts,
        message_id=subject.message_id,
    )


def difference_text(verdicts: Iterable[str]) -> str:
    """Return "slower", "faster", "slower and faster", or "" if the verdicts have neither."""
    return " and ".join(word for word in (Word.SLOWER, Word.FASTER) if word in set(verdicts))


def _summary_of(verdicts: Sequence[str]) -> str:
    """Return what the verdicts of a comparison's rows say together, as a predicate."""
    if shown := difference_text(verdicts):
        return f"is {shown}"
    undecided = [w for w in (Word.NOT_COMPARABLE, Word.TOO_FEW, Word.TOO_NOISY) if w in verdicts]
    if undecided or not verdicts:
        return f"is undecided: {', '.join(undecided) or 'nothing was compared'}"
    alike = all(word == Word.ALIKE for word in verdicts)
    return "makes no difference" if alike else "shows no difference"


def verdict_notice(
    subject: Subject, revision: str, playbook: str, verdict: str, reason: str
) -> Notice:
    """Return the notice on a bad verdict of a kernel. `revision`: the `id` of its `Revision`."""
    title = f"{subject.name}: {verdict} ({playbook})"
    lines = [*wrapped(f"Measured: {subject.title}."), "", f"Verdict: {verdict}", *wrapped(reason)]
    lines += ["", *subject.context] if subject.context else []
    key = f"verdict|{subject.name}|{revision}|{playbook}|{verdict}"
    return Notice(key, title, "\n".join(lines), subject.date, "", True, subject.message_id)


def failure_key(where: str, text: str) -> str:
    """Return the key of the notice on a failure; another text gives another key."""
    digest = hashlib.sha256(f"{where} {text}".encode("utf-8", "replace")).hexdigest()[:12]
    return f"failure|{where}|{digest}"


def failure_notice(where: str, text: str, date: str) -> Notice:
    """Return the notice that a candidate cannot be built, or that a nightly run failed."""
    lines = [f"The nightly run of {date} could not measure {where}:", "", *_indented(text)]
    title = f"{where}: {text.splitlines()[0][:120] if text else 'failed'}"
    return Notice(failure_key(where, text), title, "\n".join(lines), date, worse=True)


def failures_notice(candidate: str, failures: Sequence[tuple[str, str]], date: str) -> Notice:
    """Return one notice for all failures (where, message) of a candidate."""
    if len(failures) == 1:
        return failure_notice(*failures[0], date)
    lines = [f"The nightly run of {date} could not measure these series of {candidate}:"]
    for where, text in failures:
        lines += ["", f"{where}:", *_indented(text)]
    title = f"{candidate}: {len(failures)} series are not measured"
    key = failure_key(candidate, " ".join(text for _, text in failures))
    return Notice(key, title, "\n".join(lines), date, worse=True)


def _indented(text: str) -> list[str]:
    """Return the lines of a text, indented by 2, long ones wrapped."""
    return [line for own in text.splitlines() for line in wrapped(own, indent=2) or [""]]
