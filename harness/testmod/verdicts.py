"""Finds conditions in a kernel log that speak against its boot. Pure; linear in its length.

All starts of the catalogue's rows are looked for in one pass; only where one stands are its rows
tried, anchored there and within a bounded window, so a hostile log costs no more than a long one.
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

_LINE_CHARACTERS = 1_000  # what is looked at of one line behind a start
_PREFIX_CHARACTERS = 300  # and before it
_EXCERPT_LINES = 60
_EXCERPT_CHARACTERS = 8_000
_HEADING_LINES = 15  # how far behind its first line a report's stack begins
MOST_REPORTS = 1_000_000  # that are read of one log; a small compressed file holds 75 million
_KEPT = 20  # of one condition and severity; the others are read, and counted
_VERDICTS = {
    Severity.NOTE: Verdict.PASSED,
    Severity.SPLAT: Verdict.SPLAT,
    Severity.CRASH: Verdict.CRASHED,
}
_RANKS = list(_VERDICTS)


@dataclass(frozen=True)
class Finding:
    """A condition in a log. `line`: 1-based; `excerpt`: the report from there to its end.

    `more`: how many later ones of the same condition the log has and this list has not.
    """

    name: str
    severity: Severity
    line: int
    excerpt: str
    more: int = 0


@dataclass
class _Report:
    condition: Condition
    begin: int  # of its first line
    end: int
    ended: bool = False  # by a mark, not by its last stack line

    def covers(self, condition: Condition, at: int) -> bool:
        """Return whether `condition` at `at` is part of this report; it may give it its name."""
        if _rank(condition) > _rank(self.condition):
            return False
        if at >= self.end:
            mine = condition.start == _END_START and not self.ended  # it is longer than an excerpt
            self.ended |= mine
            return mine
        if self.condition.weak and not condition.weak and _rank(condition) == _rank(self.condition):
            self.condition = condition
        return True


def _rank(condition: Condition) -> int:
    return _RANKS.index(condition.severity)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return the worst that `findings` mean; none, or notes alone, is PASSED."""
    return worst([Verdict.PASSED, *(_VERDICTS[finding.severity] for finding in findings)])


def first_crash(text: str) -> str:
    """Return the line in which `text` first says that the kernel crashed, "" where it does not."""
    crash = next((each for each in scan_console(text) if each.severity is Severity.CRASH), None)
    return message_of(crash.excerpt.split("\n", 1)[0]).strip()[:200] if crash else ""


def scan_console(text: str, most: int = MOST_REPORTS) -> tuple[Finding, ...]:
    """Return what the catalogue knows of in `text`, in order. Never raises.

    After `most` reports it stops, and the last finding says so: what follows may be worse.

    What one report says twice (a page fault, then its oops) is one finding, named by its first
    line that is more than a frame; a worse condition inside it is a finding by itself. The first 20
    of each condition are returned, the last of them with the number of the others.
    """
    text = "\n" + strip_colour(text)
    findings: list[Finding] = []
    counts: Counter[tuple[str, Severity]] = Counter()
    last: dict[tuple[str, Severity], int] = {}  # where the last one kept stands in `findings`
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
        self.unmarked_to = 0  # where no line of a stack begins before, from the last report on

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
    """Return a pattern for any of `starts`, the longest first, that reads each character once."""
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
# Behind one of these characters and blanks the kernel's words begin. One set of characters at the
# begin, no way back over the blanks, and another set before the trie make the search quick.
_STARTS = re.compile(
    r"[\n\]:>;|*#\[(][ \t]{0,64}+"
    rf"(?=[{''.join(sorted({re.escape(start[0]) for start in _ANCHORED}))}])"
    rf"(?=({_trie(_ANCHORED)}))"
)
# And behind a prefix that does not end so.
_DATED_STARTS = re.compile(rf"\n{DATES}[ \t]{{0,64}}+(?=(?P<start>{_trie(_ANCHORED)}))")
# For each start, the rows that may stand there: its own and those of shorter starts inside it.
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
    """Yield rows and where they stand, at most one for each line (or 1000 characters of one)."""
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
    """Yield where starts of rows stand, in order."""
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
_END_START = "end trace "  # of the catalogue's row for the mark that ends a report
_END = re.compile(r"---\[ end (?:trace|Kernel panic)[^\n]{0,200}")
_MARK = re.compile(r"---\[ end |\+0x|</TASK>|(?:R[A-Z0-9]{2}|Code): ")
_STACK = re.compile(r"\+0x[0-9a-f]{1,8}/0x|</TASK>|\b(?:R[A-Z0-9]{2}|Code): ")


def _end_of_report(log: _Log, at: int, row: Condition) -> int:
    """Return where the report that begins at `at` ends: its end mark, else its last stack line."""
    line_end = _line_end(log.text, at)
    if row.severity is Severity.NOTE:
        return line_end
    end = _end_of_stack(log, line_end, at + _EXCERPT_CHARACTERS)
    if row.excuse:  # it excuses this report alone: another one ends it
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
    window = window.split(_CUT_HERE, 1)[0]  # the next report
    end = _END.search(window)
    if end:
        return line_end + end.end()
    last, at, length = 0, -1, 0
    for number, line in enumerate(window.split("\n")):
        if number - last > _HEADING_LINES:
            break
        at += len(line) + 1
        # the pattern alone, which begins with no fixed character, takes ten times as long
        if ("+0x" in line or ": " in line or "</" in line) and _STACK.search(line):
            last, length = number, at
    return _line_end(text, line_end + length) if length else line_end
