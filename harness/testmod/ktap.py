"""Parses KTAP (Documentation/dev-tools/ktap.rst) in a kernel log. Pure; never raises on a log.

The lines of a subtest are indented deeper than its parent's result, or prefixed by another "# ", as
kselftest does with the output of its tests; the parent's result follows them:

    KTAP version 1
    1..1
      KTAP version 1
      1..2
      ok 1 first
      not ok 2 second # TODO not written yet
    ok 1 suite
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from harness.testmod.prefix import split_prefix, strip_colour


class KtapStatus(StrEnum):
    """The result of a test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    TODO = "todo"  # expected to fail; any result is fine
    MISSING = "missing"  # planned, or begun by subtests, without a result


@dataclass(frozen=True, slots=True)
class KtapResult:
    """A test. `reason`: text after SKIP or TODO; `planned`: number of planned subtests, or None."""

    number: int
    name: str
    status: KtapStatus
    reason: str = ""
    planned: int | None = None
    subtests: tuple["KtapResult", ...] = ()

    def walk(self) -> Iterator["KtapResult"]:
        """Yield this test and all its subtests, parents first."""
        stack = [self]
        while stack:
            result = stack.pop()
            yield result
            stack += reversed(result.subtests)

    @property
    def bad(self) -> bool:
        """Whether this test or one of its subtests failed or is missing."""
        return any(item.status in (KtapStatus.FAILED, KtapStatus.MISSING) for item in self.walk())


_TOKEN = re.compile(r"ok \d|1\.\.\d|TAP version|# Subtest:")
_BODY = re.compile(r"(?:K?TAP version \d|(?:not )?ok \d|1\.\.\d|# Subtest:)")
_RESULT = re.compile(
    r"(?P<fault>not )?ok (?P<number>\d{1,9})(?: -)?(?: (?P<name>[^#\n]{0,500}))?"
    r"(?:# *(?P<directive>(?i:skip|todo|timeout|xfail|error))\S{0,20} ?(?P<reason>[^\n]{0,500}))?"
)
_PLAN = re.compile(r"1\.\.(\d{1,9})\s*(?:#|\Z)")
_SUBTEST = re.compile(r"# Subtest: ?([^\n]{0,500})")
# The beginning of most result lines, to avoid parsing their prefix.
_STAMPED = re.compile(r"(?:\[ {0,12}\d{1,10}\.\d{1,9}\] ?)?( *+)(?=(?:not )?ok \d)")
_DEPTH = 64  # deeper nesting is ignored
_RESULTS = 200_000  # limit per log; all of the kernel's KUnit tests have about 20,000
_MISSING = 1_000  # limit of listed missing tests per log
_LINE_CHARACTERS = 1_500

_Indent = tuple[int, int]  # of quotes ("# "), of columns


@dataclass
class _Level:
    indent: _Indent
    planned: int | None = None
    title: str = ""
    results: list[KtapResult] = field(default_factory=list)


class _Document:
    """The open levels of a KTAP document, and how many more missing tests may be listed."""

    def __init__(self) -> None:
        self.levels: list[_Level] = []
        self._missing = _MISSING

    def take(self, indent: _Indent, body: str) -> None:
        """Process a line after the outermost version line; `body`: matches `_BODY`."""
        if body[0] in "KT":
            self._enter(indent)
        elif not self._has_begun(indent[0]):
            return  # a diagnostic
        elif result := _RESULT.match(body):
            below = self._close_below(indent)
            self._enter(indent).results.append(self._result(result, below))
        elif plan := _PLAN.match(body):
            level = self._enter(indent)
            level.planned = int(plan[1]) if level.planned is None else level.planned
        elif title := _SUBTEST.match(body):
            self._enter(indent).title = title[1].strip()

    def close(self) -> tuple[KtapResult, ...]:
        """Close all levels and return the top-level tests."""
        if not self.levels:
            return ()
        below = self._close_below((-1, -1))
        if below:
            self.levels[0].results.append(self._without_result(self.levels[0], below))
        return self._whole(self.levels.pop())

    def _has_begun(self, quotes: int) -> bool:
        """Return whether there is a level with this number of quotes; often it is the last."""
        levels = self.levels
        return quotes == levels[-1].indent[0] or any(quotes == each.indent[0] for each in levels)

    def _enter(self, indent: _Indent) -> _Level:
        """Return the level of `indent`; open it if it is deeper than the last one."""
        levels = self.levels
        if not levels or (indent > levels[-1].indent and len(levels) < _DEPTH):
            levels.append(_Level(indent))
        return levels[-1]

    def _close_below(self, indent: _Indent) -> _Level | None:
        """Close the levels deeper than `indent` and return the outermost of them."""
        below = None
        while len(self.levels) > 1 and self.levels[-1].indent > indent:
            if below:
                self.levels[-1].results.append(self._without_result(self.levels[-1], below))
            below = self.levels.pop()
        return below

    def _result(self, match: re.Match[str], below: _Level | None) -> KtapResult:
        fault, number, name, directive, reason = match.groups()
        return KtapResult(
            int(number),
            (name or "").strip(),
            _status(bool(fault), (directive or "").lower()),
            (reason or "").strip() if directive else "",
            below.planned if below else None,
            self._whole(below) if below else (),
        )

    def _without_result(self, parent: _Level, below: _Level) -> KtapResult:
        """Return the test of subtests whose parent has no result."""
        return KtapResult(
            number=parent.results[-1].number + 1 if parent.results else 1,
            name=below.title,
            status=KtapStatus.MISSING,
            planned=below.planned,
            subtests=self._whole(below),
        )

    def _whole(self, level: _Level) -> tuple[KtapResult, ...]:
        """Return the results, followed by planned tests without a result."""
        seen = {result.number for result in level.results}
        planned = level.planned or 0
        left = planned - sum(1 for number in seen if 1 <= number <= planned)
        listed = min(left, self._missing)
        absent = (number for number in itertools.count(1) if number not in seen)
        missing = [
            KtapResult(number, "", KtapStatus.MISSING)
            for number in itertools.islice(absent, listed)
        ]
        self._missing -= listed
        if left > listed:
            text = f"and {left - listed:,} more without a result"
            missing.append(KtapResult(next(absent), text, KtapStatus.MISSING))
        return (*level.results, *missing)


def parse_ktap(text: str) -> tuple[KtapResult, ...]:
    """Return the top-level tests of all KTAP documents in `text`, in order, with their subtests.

    A document begins at a version line of the outermost level. Other lines of the kernel in between
    are ignored. After 200,000 lines of results parsing stops, with a missing test that says so.
    """
    begin = text.find("TAP version ")
    if begin < 0:
        return ()
    top: list[KtapResult] = []
    document = _Document()
    for number, (indent, body) in enumerate(_ktap_lines(strip_colour(text), begin)):
        if number == _RESULTS:
            message = f"more than {_RESULTS:,} lines of KTAP: the rest was not read"
            return (*top, *document.close(), KtapResult(0, message, KtapStatus.MISSING))
        begins = body[0] in "KT"  # of a version line
        if begins and document.levels and indent <= document.levels[0].indent:
            top += document.close()
        if document.levels:
            document.take(max(indent, document.levels[0].indent), body)
        elif begins:
            document.take(indent, body)
    return (*top, *document.close())


def _ktap_lines(text: str, at: int) -> Iterator[tuple[_Indent, str]]:
    """Yield (indentation, text after it) of possible KTAP lines from position `at` on."""
    at = text.rfind("\n", 0, at) + 1
    while match := _TOKEN.search(text, at):
        begin = text.rfind("\n", at, match.start()) + 1 or at
        end = text.find("\n", match.start())
        end = len(text) if end < 0 else end
        at = end + 1
        if match.start() - begin > 300:
            continue
        cut = min(end, begin + _LINE_CHARACTERS)
        if stamped := _STAMPED.match(text, begin, cut):
            yield (0, len(stamped[1])), text[stamped.end() : cut].rstrip()
            continue
        line = text[begin:cut]
        prefix, message = split_prefix(line)
        body = message.lstrip(" \t")
        if _BODY.match(body):
            blanks = message[: len(message) - len(body)]
            columns = len(blanks.expandtabs(4))
            yield (prefix.count("# "), columns), body.rstrip()


def _status(fault: bool, directive: str) -> KtapStatus:
    if directive == "skip":
        return KtapStatus.SKIPPED
    if directive in ("todo", "xfail"):
        return KtapStatus.TODO
    return KtapStatus.FAILED if fault or directive else KtapStatus.PASSED
