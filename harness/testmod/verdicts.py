"""Finds the conditions of the catalogue in a kernel log. Pure; linear in its length.

The starts of all rows are searched in one pass. Where one is found, its rows are matched there,
within a limited window, so that the time is linear for any log.
"""

import functools
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from harness.testmod.catalogue import CONDITIONS, Condition, Severity
from harness.testmod.prefix import DATES, ci_dates_lines, is_kernels, message_of, strip_colour
from harness.verdict import Verdict, worst

__all__ = ["Finding", "Severity", "first_crash", "scan_console", "verdict_of"]

_LINE_CHARACTERS = 1_000  # of a line that are read after a start
_PREFIX_CHARACTERS = 300  # of a line that are read before it
_EXCERPT_LINES = 60
_EXCERPT_CHARACTERS = 8_000
_HEADING_LINES = 15  # maximum distance of a report's stack from its first line
MOST_REPORTS = 1_000_000  # limit per log; a small compressed file may contain 75 million
_KEPT = 20  # findings per condition and severity; the others are only counted
_VERDICTS = {
    Severity.NOTE: Verdict.PASSED,
    Severity.SPLAT: Verdict.SPLAT,
    Severity.CRASH: Verdict.CRASHED,
}
_RANKS = list(_VERDICTS)


@dataclass(frozen=True)
class Finding:
    """A condition in a log. `line`: from 1; `excerpt`: the report from there to its end.

    `more`: number of later findings of the same condition that are not listed.
    """

    name: str
    severity: Severity
    line: int
    excerpt: str
    more: int = 0


@dataclass
class _Report:
    condition: Condition
    begin: int  # offset of its first line
    end: int
    ended: bool = False  # by an end mark, not by its last stack line

    def covers(self, condition: Condition, at: int) -> bool:
        """Return whether `condition` at `at` is part of this report, which may take its name."""
        if _rank(condition) > _rank(self.condition):
            return False
        if at >= self.end:
            mine = (
                condition.start == _END_START and not self.ended
            )  # the report is longer than an excerpt
            self.ended |= mine
            return mine
        if self.condition.weak and not condition.weak and _rank(condition) == _rank(self.condition):
            self.condition = condition
        return True


def _rank(condition: Condition) -> int:
    return _RANKS.index(condition.severity)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict of `findings`; PASSED if there are only notes or none."""
    return worst([Verdict.PASSED, *(_VERDICTS[finding.severity] for finding in findings)])


def first_crash(text: str) -> str:
    """Return the first line of `text` that reports a crash of the kernel; "" if there is none."""
    crash = next((each for each in scan_console(text) if each.severity is Severity.CRASH), None)
    return message_of(crash.excerpt.split("\n", 1)[0]).strip()[:200] if crash else ""


def scan_console(text: str, most: int = MOST_REPORTS) -> tuple[Finding, ...]:
    """Return the findings in a kernel log, in order. Never raises.

    Several conditions in one report (a page fault, then its oops) are one finding, named by the
    first that is not weak; a worse condition in it is a separate finding. The first 20 of each
    condition are returned, the last of them with the number of the others. After `most` reports the
    scan stops, with a finding that says so, as the rest may be worse.
    """
    text = "\n" + strip_colour(text)
    findings: list[Finding] = []
    counts: Counter[tuple[str, Severity]] = Counter()
    last: dict[tuple[str, Severity], int] = {}  # index of the last one in `findings`
    line, counted = 0, 0
    for number, report in enumerate(_reports(_Log(text))):
        if number == most:
            rest = f"the rest of the log was not read: it has more than {most:,} reports"
            findings.append(Finding("rest not read", Severity.SPLAT, line, rest))
            break
        line, counted = line + text.count("\n", counted, report.begin), report.begin
        condition, excerpt = report.condition, text[report.begin : report.end]
        excused = condition.excuse and re.search(condition.excuse, excerpt)
        key = (condition.name, Severity.NOTE if excused else condition.severity)
        counts[key] += 1
        if counts[key] <= _KEPT:
            last[key] = len(findings)
            findings.append(Finding(*key, line, excerpt))
    for key, place in last.items():
        findings[place] = replace(findings[place], more=max(0, counts[key] - _KEPT))
    return tuple(findings)


class _Log:
    def __init__(self, text: str):
        self.text = text
        asked = {row.given for row in CONDITIONS if row.given}
        self.given = {phrase for phrase in asked if phrase in text}
        self.unmarked_to = 0  # no line of a stack begins between the last report and this offset

    @functools.cached_property
    def ci_dates(self) -> bool:
        return ci_dates_lines(self.text)


def _reports(log: _Log) -> Iterator[_Report]:
    report = None
    for row, at in _hits(log, 0, len(log.text)):
        if report and report.covers(row, at):
            continue
        if report:
            yield report
        begin, end = _line_begin(log.text, at), _end_of_report(log, at, row)
        ended = row.severity is Severity.NOTE or bool(_END.search(log.text, at, end))
        report = _Report(row, begin, end, ended)
    if report:
        yield report


def _trie(starts: Iterable[str]) -> str:
    """Return a pattern for any of `starts`, longest first, that reads each character once."""
    branches: dict[str, list[str]] = {}
    for start in starts:
        branches.setdefault(start[:1], []).append(start[1:])
    ends_here = branches.pop("", None)
    patterns = [re.escape(head) + _trie(tails) for head, tails in branches.items()]
    pattern = "|".join(patterns)
    if ends_here:
        return f"(?:{pattern})?" if patterns else ""
    return pattern if len(patterns) == 1 else f"(?:{pattern})"


_BY_LENGTH = sorted({row.start for row in CONDITIONS}, key=len, reverse=True)
_INSIDE = [start for start in _BY_LENGTH if start.startswith(" ")]
_ANCHORED = [start for start in _BY_LENGTH if start not in _INSIDE]
# A message begins after one of these characters and blanks. A character set at the beginning, no
# backtracking over the blanks, and another set before the trie make the search fast.
_STARTS = re.compile(
    r"[\n\]:>;|*#\[(][ \t]{0,64}+"
    rf"(?=[{''.join(sorted({re.escape(start[0]) for start in _ANCHORED}))}])"
    rf"(?=({_trie(_ANCHORED)}))"
)
# Or after a prefix that does not end in one of these characters.
_DATED_STARTS = re.compile(rf"\n{DATES}[ \t]{{0,64}}+(?=(?P<start>{_trie(_ANCHORED)}))")
# For each start, the rows that may match: its own and those of shorter starts within it.
_ROWS = {
    start: [
        (re.compile(re.escape(row.start) + row.rest), row)
        for shorter in _BY_LENGTH
        if start.startswith(shorter)
        for row in CONDITIONS
        if row.start == shorter
    ]
    for start in _BY_LENGTH
}


def _hits(log: _Log, begin: int, end: int) -> Iterator[tuple[Condition, int]]:
    """Yield rows and their offsets, at most one per line (or per 1000 characters of one)."""
    at, text = begin, log.text
    for place, start in _starts(text, begin, end):
        if place < at:
            continue
        line_end = _line_end(text, place)
        for pattern, row in _ROWS[start]:
            if pattern.match(text, place, line_end) and (not row.given or row.given in log.given):
                if is_kernels(text[_line_begin(text, place) : place], lambda: log.ci_dates):
                    yield row, place
                at = line_end
                break


def _starts(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield the offsets of starts of rows, in order."""
    anchored = ((match.start(1), match[1]) for match in _STARTS.finditer(text, begin, end))
    dated = (
        (match.start("start"), match["start"]) for match in _DATED_STARTS.finditer(text, begin, end)
    )
    return heapq.merge(anchored, dated, *(_places(start, text, begin, end) for start in _INSIDE))


def _places(start: str, text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    while (begin := text.find(start, begin, end)) >= 0:
        yield begin, start
        begin += len(start)


def _line_begin(text: str, at: int) -> int:
    least = max(0, at - _PREFIX_CHARACTERS)
    begin = text.rfind("\n", least, at)
    return begin + 1 if begin >= 0 else least


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at, at + _LINE_CHARACTERS)
    return end if end >= 0 else min(len(text), at + _LINE_CHARACTERS)


_CUT_HERE = "[ cut here ]"
_END_START = "end trace "  # start of the catalogue's row for the end mark
_END = re.compile(r"---\[ end (?:trace|Kernel panic)[^\n]{0,200}")
_MARK = re.compile(r"---\[ end |\+0x|</TASK>|(?:R[A-Z0-9]{2}|Code): ")
_STACK = re.compile(r"\+0x[0-9a-f]{1,8}/0x|</TASK>|\b(?:R[A-Z0-9]{2}|Code): ")


def _end_of_report(log: _Log, at: int, row: Condition) -> int:
    """Return where the report at `at` ends: at its end mark, or else its last stack line."""
    line_end = _line_end(log.text, at)
    if row.severity is Severity.NOTE:
        return line_end
    end = _end_of_stack(log, line_end, at + _EXCERPT_CHARACTERS)
    if row.excuse:  # the excuse is for this report only, so it ends at the next one
        others = (
            _line_begin(log.text, place)
            for other, place in _hits(log, line_end, end)
            if other.severity is not Severity.NOTE
        )
        end = max(line_end, next(others, end))
    return end


def _end_of_stack(log: _Log, line_end: int, limit: int) -> int:
    text, begin = log.text, max(line_end, log.unmarked_to)
    mark = _MARK.search(text, begin, limit)
    log.unmarked_to = mark.start() if mark else max(begin, limit)
    if not mark:
        return line_end
    window = "\n".join(text[line_end:limit].split("\n", _EXCERPT_LINES)[:_EXCERPT_LINES])
    window = window.split(_CUT_HERE, 1)[0]  # of the next report
    end = _END.search(window)
    if end:
        return line_end + end.end()
    last, at, length = 0, -1, 0
    for number, line in enumerate(window.split("\n")):
        if number - last > _HEADING_LINES:
            break
        at += len(line) + 1
        # the pattern alone, which has no fixed first character, takes ten times as long
        if ("+0x" in line or ": " in line or "</" in line) and _STACK.search(line):
            last, length = number, at
    return _line_end(text, line_end + length) if length else line_end
