"""What a kernel log says against the boot that wrote it. Pure; linear in the length of the log.

All starts of the catalogue's rows are looked for in one pass; only where one stands are its rows
tried, anchored there and within a bounded window, so a hostile log costs no more than a long one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.testmod.catalogue import CONDITIONS, Condition, Severity
from harness.testmod.prefix import message_of, strip_colour
from harness.verdict import Verdict, worst

__all__ = ["Finding", "Severity", "first_crash", "scan_console", "verdict_of"]

_LINE_CHARACTERS = 1_000  # what is looked at of one line behind a start
_PREFIX_CHARACTERS = 300  # and before it
_EXCERPT_LINES = 60
_EXCERPT_CHARACTERS = 8_000
_HEADING_LINES = 15  # how far behind its first line a report's stack begins
_FINDINGS = 1_000  # a log with more says nothing new
_VERDICTS = {
    Severity.NOTE: Verdict.PASSED,
    Severity.SPLAT: Verdict.SPLAT,
    Severity.CRASH: Verdict.CRASHED,
}
_RANKS = list(_VERDICTS)


@dataclass(frozen=True)
class Finding:
    """A condition in a log. `line`: 1-based; `excerpt`: the report from there to its end."""

    name: str
    severity: Severity
    line: int
    excerpt: str


@dataclass
class _Report:
    condition: Condition
    begin: int
    end: int

    def covers(self, condition: Condition, at: int) -> bool:
        """Return whether `condition` at `at` is part of this report; it may give it its name."""
        if at >= self.end:
            return False
        if self.condition.weak and not condition.weak:
            self.condition = condition
            return True
        return _RANKS.index(condition.severity) <= _RANKS.index(self.condition.severity)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return the worst that `findings` mean; none, or notes alone, is PASSED."""
    return worst([Verdict.PASSED, *(_VERDICTS[finding.severity] for finding in findings)])


def first_crash(text: str) -> str:
    """Return the line in which `text` first says that the kernel crashed, "" where it does not."""
    crash = next((each for each in scan_console(text) if each.severity is Severity.CRASH), None)
    return message_of(crash.excerpt.split("\n", 1)[0]).strip()[:200] if crash else ""


def scan_console(text: str) -> tuple[Finding, ...]:
    """Return what the catalogue knows of in `text`, in order, at most 1000. Never raises.

    What one report says twice (a page fault, then its oops) is one finding, named by its first
    line that is more than a frame; a worse condition inside it is a finding by itself.
    """
    text = strip_colour(text)
    reports: list[_Report] = []
    for condition, at in _hits(text):
        if reports and reports[-1].covers(condition, at):
            continue
        if len(reports) == _FINDINGS:
            break
        begin = text.rfind("\n", max(0, at - _PREFIX_CHARACTERS), at) + 1
        begin = begin or max(0, at - _PREFIX_CHARACTERS)
        reports.append(_Report(condition, begin, _end_of_report(text, at, condition)))
    return tuple(_findings(text, reports))


def _findings(text: str, reports: Iterable[_Report]) -> Iterator[Finding]:
    line, counted = 1, 0
    for report in reports:
        line, counted = line + text.count("\n", counted, report.begin), report.begin
        name, severity, excuse = report.condition[0], report.condition[1], report.condition.excuse
        excerpt = text[report.begin : report.end]
        if excuse and re.search(excuse, excerpt):
            severity = Severity.NOTE
        yield Finding(name, severity, line, excerpt)


def _trie(starts: Iterable[str]) -> str:
    """Return a pattern for any of `starts`, the longest first, that reads each character once."""
    branches: dict[str, list[str]] = {}
    for start in starts:
        branches.setdefault(start[:1], []).append(start[1:])
    ends_here = branches.pop("", None)
    words = [re.escape(head) + _trie(tails) for head, tails in branches.items()]
    pattern = "|".join(words)
    if ends_here:
        return f"(?:{pattern})?" if words else ""
    return pattern if len(words) == 1 else f"(?:{pattern})"


_BY_LENGTH = sorted({row.start for row in CONDITIONS}, key=len, reverse=True)
_STARTS = re.compile(r"\b" + _trie(_BY_LENGTH))
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


def _hits(text: str) -> Iterator[tuple[Condition, int]]:
    """Yield rows and where they stand, at most one for each line (or 1000 characters of one)."""
    at = 0
    while match := _STARTS.search(text, at):
        begin, at = match.start(), match.end()
        end = _line_end(text, begin)
        for pattern, row in _ROWS[match[0]]:
            if pattern.match(text, begin, end):
                yield row, begin
                at = max(at, end)
                break


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at, at + _LINE_CHARACTERS)
    return end if end >= 0 else min(len(text), at + _LINE_CHARACTERS)


_CUT_HERE = "[ cut here ]"
_END = re.compile(r"---\[ end (?:trace|Kernel panic)[^\n]{0,200}")
_STACK = re.compile(r"\+0x[0-9a-f]{1,8}/0x[^\n]{0,200}|</TASK>|\b(?:R[A-Z0-9]{2}|Code): ")


def _end_of_report(text: str, at: int, condition: Condition) -> int:
    """Return where the report that begins at `at` ends: its end mark, else its last stack line."""
    line_end = _line_end(text, at)
    if condition.severity is Severity.NOTE:
        return line_end
    window = text[line_end : at + _EXCERPT_CHARACTERS]
    window = "\n".join(window.split("\n", _EXCERPT_LINES)[:_EXCERPT_LINES])
    window = window.split(_CUT_HERE, 1)[0]  # the next report
    end = _END.search(window)
    if end:
        return line_end + end.end()
    last = 0
    for match in _STACK.finditer(window):
        if window.count("\n", last, match.start()) > _HEADING_LINES:
            break
        last = match.end()
    return line_end if not last else _line_end(text, line_end + last)
