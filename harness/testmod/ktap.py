"""Reads KTAP (Documentation/dev-tools/ktap.rst) out of a kernel log. Pure; never raises on a log.

A subtest's lines are indented deeper than its parent's result, which comes after them:

    KTAP version 1
    1..1
      KTAP version 1
      1..2
      ok 1 first
      not ok 2 second # TODO not written yet
    ok 1 suite
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from harness.testmod.prefix import message_of, strip_colour


class KtapStatus(StrEnum):
    """What became of one test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    TODO = "todo"  # expected to fail: says nothing against the kernel, whatever it did
    MISSING = "missing"  # planned, or begun by subtests, and no result came


@dataclass(frozen=True)
class KtapResult:
    """One test. `reason`: the words behind SKIP or TODO; `planned`: its plan, None without one."""

    number: int
    name: str
    status: KtapStatus
    reason: str = ""
    planned: int | None = None
    subtests: tuple["KtapResult", ...] = ()

    def walk(self) -> Iterator["KtapResult"]:
        """Yield this test and all below it, parents first."""
        stack = [self]
        while stack:
            result = stack.pop()
            yield result
            stack += reversed(result.subtests)

    @property
    def bad(self) -> bool:
        """Whether this test or one below failed or is missing."""
        return any(item.status in (KtapStatus.FAILED, KtapStatus.MISSING) for item in self.walk())


_TOKEN = re.compile(r"\b(?:K?TAP version|(?:not )?ok \d|1\.\.\d)|# Subtest:")
_RESULT = re.compile(
    r"(?P<fault>not )?ok (?P<number>\d{1,9})(?: -)?(?: (?P<name>[^#\n]{0,500}))?"
    r"(?:# *(?P<directive>(?i:skip|todo|timeout|xfail|error))\S{0,20} ?(?P<reason>[^\n]{0,500}))?"
)
_PLAN = re.compile(r"1\.\.(\d{1,9})\s*(?:#|$)")
_SUBTEST = re.compile(r"# Subtest: ?([^\n]{0,500})")
_VERSION = re.compile(r"K?TAP version \d")
_DEPTH = 64  # deeper nesting is noise
_MISSING = 1_000  # of a plan of billions, so many missing tests are listed


@dataclass
class _Level:
    indent: int
    planned: int | None = None
    title: str = ""
    results: list[KtapResult] = field(default_factory=list)

    def whole(self) -> tuple[KtapResult, ...]:
        """Return the results, and after them the tests of the plan that have none."""
        seen = {result.number for result in self.results}
        last = min(self.planned or 0, len(seen) + _MISSING)
        absent = [number for number in range(1, last + 1) if number not in seen]
        return (
            *self.results,
            *(KtapResult(number, "", KtapStatus.MISSING) for number in absent[:_MISSING]),
        )


def parse_ktap(text: str) -> tuple[KtapResult, ...]:
    """Return the top-level tests of all KTAP documents in `text`, in order, with their subtests.

    Lines count from the first version line on. A new version line at the outermost level begins
    another document. Other lines of the kernel, in between, do not matter.
    """
    top: list[KtapResult] = []
    levels: list[_Level] = []
    for indent, body in _ktap_lines(strip_colour(text)):
        if _VERSION.match(body):
            if levels and indent <= levels[0].indent:
                top += _unwind(levels, -1)
                levels = []
            _enter(levels, indent)
        elif levels:
            _take(levels, max(indent, levels[0].indent), body)
    return (*top, *_unwind(levels, -1))


def _ktap_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (indentation, text without it) of the lines that may be KTAP."""
    at = 0
    while match := _TOKEN.search(text, at):
        begin = text.rfind("\n", at, match.start()) + 1 or at
        end = text.find("\n", match.start())
        end = len(text) if end < 0 else end
        at = end + 1
        if match.start() - begin > 300:
            continue
        message = message_of(text[begin : min(end, begin + 1_500)].rstrip("\r"))
        body = message.lstrip(" \t")
        if body.startswith("# Subtest") or _TOKEN.match(body):
            yield len(message.expandtabs(4)) - len(body.expandtabs(4)), body.rstrip()


def _enter(levels: list[_Level], indent: int) -> _Level:
    """Return the level of `indent`, opened when it is deeper than the last one."""
    if not levels or (indent > levels[-1].indent and len(levels) < _DEPTH):
        levels.append(_Level(indent))
    return levels[-1]


def _take(levels: list[_Level], indent: int, body: str) -> None:
    if plan := _PLAN.match(body):
        level = _enter(levels, indent)
        level.planned = int(plan[1]) if level.planned is None else level.planned
    elif title := _SUBTEST.match(body):
        _enter(levels, indent).title = title[1].strip()
    elif result := _RESULT.match(body):
        below = _close_below(levels, indent)
        level = _enter(levels, indent)
        level.results.append(_result(result, below))


def _close_below(levels: list[_Level], indent: int) -> _Level | None:
    """End the levels deeper than `indent` and return the outermost one of them."""
    below = None
    while len(levels) > 1 and levels[-1].indent > indent:
        if below:
            levels[-1].results.append(_without_result(levels[-1], below))
        below = levels.pop()
    return below


def _result(match: re.Match[str], below: _Level | None) -> KtapResult:
    return KtapResult(
        number=int(match["number"]),
        name=(match["name"] or "").strip(),
        status=_status(bool(match["fault"]), (match["directive"] or "").lower()),
        reason=(match["reason"] or "").strip() if match["directive"] else "",
        planned=below.planned if below else None,
        subtests=below.whole() if below else (),
    )


def _status(fault: bool, directive: str) -> KtapStatus:
    if directive == "skip":
        return KtapStatus.SKIPPED
    if directive in ("todo", "xfail"):
        return KtapStatus.TODO
    return KtapStatus.FAILED if fault or directive else KtapStatus.PASSED


def _without_result(parent: _Level, below: _Level) -> KtapResult:
    """Return the test whose subtests came and whose own result did not."""
    number = max((result.number for result in parent.results), default=0) + 1
    return KtapResult(
        number, below.title, KtapStatus.MISSING, planned=below.planned, subtests=below.whole()
    )


def _unwind(levels: list[_Level], indent: int) -> tuple[KtapResult, ...]:
    """End all levels and return the outermost one's tests."""
    below = _close_below(levels, indent)
    if not levels:
        return ()
    if below:
        levels[0].results.append(_without_result(levels[0], below))
    return levels[0].whole()
