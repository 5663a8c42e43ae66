"""Parses posted results: text tables of cases with their parameters and changes.

    fix_size_alloc p:1 h:0 l:4000       12.3 ms   (R)  +4.2 %    +3.1 .. +5.3
    | micromm/vmalloc | fix_align_alloc_test: p:1, h:0, l:500000 (usec) | 1834.00 | (I) -10.02% |

The first format is that of `vmapbench report --format list`. The second one is used on mailing
lists, with one or several columns, with or without the baseline's time, `l:` or the unit, on two
lines, quoted, and wrapped by mail programs at 75 characters.

A change is that of the time: positive is slower. Some tables have the change of the performance
instead. If the author's marks, (R) for a regression and (I) for an improvement, show that, all
signs of the table are inverted.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

MOST_ROWS = 10_000
_LINE = 400  # maximum length of a line
_LINES = 12  # maximum number of lines of a wrapped row

_UNITS = {"ns": 1e-3, "us": 1.0, "usec": 1.0, "ms": 1e3, "s": 1e6}
_WORDS: dict[str | None, Literal["improvement", "regression"]] = {
    "I": "improvement",
    "R": "regression",
}
_NUMBER = r"[-+]?\d{1,9}(?:\.\d{1,6})?"
_LABEL = re.compile(
    r"(?P<case>whole load|[a-z]\w*?)(?:_test)?:?"
    r"\s+p:(?P<pages>\d{1,7}),?\s+h:(?P<huge>[01])\b(?:,?\s+l:(?P<loops>\d{1,10}))?"
    r"(?:\s*\((?P<unit>ns|usec|us|ms|s)\))?"
)
_TIME = re.compile(
    r"[\s|]*(?P<time>\d{1,12}(?:\.\d{1,6})?)(?:\s?(?P<unit>ns|usec|us|ms|s)\b)?(?!\s?%|[\d.])"
)
_CHANGE = re.compile(
    rf"(?:\((?P<mark>[RI])\)\s*)?(?P<change>{_NUMBER})\s?%"
    rf"(?:[\s|]+(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER}))?"
)
# Intervals of long rows are below the table.
_INTERVAL = re.compile(
    r"95 %:\s+(?P<row>[a-z]\S*(?: load)? p:\d{1,7} h:[01] l:\d{1,10})"
    rf"\s+(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})"
)
# The heading of a table by vmapbench.
_OURS = "case, pages, huge, loops"
_HEADING = re.compile(
    r"(?P<kernel>.{1,90}?) against .{1,90}?, \d+ CPUs?, (?P<threads>\d+) threads?"
)
_LEAD = re.compile(r"[\s>|]*")  # before a row of a table or a quotation
_SUITE = re.compile(r"[\w.-]+/[\w./-]+[\s|]+")  # before the case, in a table by a tool
_RULE = re.compile(r"^[\s+|]*[-=]{3}[-=+|\s]*\Z")
_BEGINS = re.compile(r"(?:whole load|[a-z]\w*):?\s+p:\d")
# Words in the continuation of a wrapped row: parameters, units, marks and numbers.
_WORD = re.compile(r"\((?:ns|usec|us|ms|s|[RI])\)|[phl]:\d+,?|[-+]?\d[\d.]*%?|%")
_FIGURE = re.compile(r"\d\s?%")


@dataclass(frozen=True)
class Posted:
    """A posted result. `change`: of the time, as a fraction; `low`, `high`: its interval or None.

    `column`: heading of its column, or the kernel in a table by vmapbench; `loops`, `threads`,
    `baseline_us`: None if the table lacks them; `word`: the author's verdict, or empty.
    """

    case: str
    nr_pages: int
    use_huge: bool
    loops: int | None
    baseline_us: float | None
    change: float
    low: float | None
    high: float | None
    word: Literal["improvement", "regression", ""]
    column: str = ""
    threads: int | None = None


def parse_posted(text: str) -> list[Posted]:
    """Return the results in a text, row by row; other text is ignored."""
    found: list[Posted] = []
    for table in _tables(text):
        rows = [one for row in table.rows for one in _figures(row, table)]
        found += _as_times(_with_intervals(rows, table))
        if len(found) >= MOST_ROWS:
            break
    return found[:MOST_ROWS]


@dataclass
class _Table:
    """A table. `head`: the text above the rows; `rows`: with wrapped lines joined."""

    head: str
    rows: list[str] = field(default_factory=list)
    intervals: list["re.Match[str]"] = field(default_factory=list)


def _tables(text: str) -> Iterator[_Table]:
    """Yield the tables, each with a head; other text between the rows is ignored."""
    table = _Table("")
    above: list[str] = []  # lines since the last row
    free = 0  # number of lines in which the last row may continue
    for read in text.splitlines():
        line = "" if len(read) > _LINE else _LEAD.sub("", read, count=1).rstrip()
        row = _SUITE.sub("", line, count=1) if _SUITE.match(line) else line
        if below := _INTERVAL.match(line):
            table.intervals.append(below)
        elif _BEGINS.match(row):
            head = _head(above)
            if head or any(map(_is_prose, above)):
                yield table
                table = _Table(head)
            table.rows.append(row)
            above, free = [], _LINES
        elif free and line and _continues(line):
            table.rows[-1] += f" {line}"
            free -= 1
        else:
            above, free = [*above[-_LINES:], line], 0
    yield table


def _head(above: Sequence[str]) -> str:
    """Return the head of a table from the lines above its first row; empty if it has none."""
    if above and above[-1].startswith(_OURS):
        return " ".join(above[:-1])[-300:] or _OURS
    lines: list[str] = []
    for line in reversed(above):
        if not line:
            break
        lines.append(line)
    ruled = [number for number, line in enumerate(lines) if _RULE.match(line)]
    if ruled:  # the lines above the last rule, which mail programs wrap as well
        lines = lines[ruled[0] :]
        lines = list(itertools.dropwhile(_RULE.match, lines))
        lines = list(itertools.takewhile(lambda line: not _RULE.match(line), lines))
    head = " ".join(reversed(lines))
    return head if "|" in head and not _FIGURE.search(head) else ""


def _is_prose(line: str) -> bool:
    """Return whether a line is not part of a table, so that a row below it begins another."""
    return bool(line) and "|" not in line and not _RULE.match(line) and not _continues(line)


def _continues(line: str) -> bool:
    return all(_WORD.fullmatch(word) for word in re.split(r"[\s|]+", line) if word)


def _figures(row: str, table: _Table) -> Iterator[Posted]:
    """Yield the results of a row, each with the name of its column."""
    label = _LABEL.match(row)
    if label is None:
        return
    time = _TIME.match(row, label.end())
    unit = _UNITS[(time and time["unit"]) or label["unit"] or "us"]
    changes = list(_CHANGE.finditer(row, time.end() if time else label.end()))
    ours = _HEADING.search(table.head)
    names = [cell.strip() for cell in table.head.split("|") if cell.strip()][-len(changes) :]
    if ours or len(names) < len(changes):
        names = [ours["kernel"].strip() if ours else ""] * len(changes)
    case = label["case"]
    for name, change in zip(names, changes, strict=True):
        yield Posted(
            case=case if case == "whole load" else f"{case}_test",
            nr_pages=int(label["pages"]),
            use_huge=label["huge"] == "1",
            loops=int(label["loops"]) if label["loops"] else None,
            baseline_us=round(float(time["time"]) * unit, 9) if time else None,
            change=_share(change["change"]),
            low=_share(change["low"]) if change["low"] else None,
            high=_share(change["high"]) if change["high"] else None,
            word=_WORDS.get(change["mark"], ""),
            column=name,
            threads=int(ours["threads"]) if ours else None,
        )


def _share(per_cent: str) -> float:
    return round(float(per_cent) / 100, 9)


def _with_intervals(rows: list[Posted], table: _Table) -> list[Posted]:
    """Return the rows of a table with the intervals below it added."""
    below = {" ".join(found["row"].split()): found for found in table.intervals}
    return [
        replace(row, low=_share(found["low"]), high=_share(found["high"]))
        if (found := below.get(row_text(row)))
        else row
        for row in rows
    ]


def row_text(row: Posted) -> str:
    """Return case, pages, use_huge and loops of a row in the format of our own tables."""
    loops = "" if row.loops is None else f" l:{row.loops}"
    case = row.case.removesuffix("_test")
    return f"{case} p:{row.nr_pages} h:{int(row.use_huge)}{loops}"


def _as_times(rows: list[Posted]) -> list[Posted]:
    """Return the rows of a table with changes of the time, inverted if necessary."""
    against = sum(
        {"regression": -1, "improvement": 1, "": 0}[row.word] * row.change > 0 for row in rows
    )
    if 2 * against <= sum(row.word != "" for row in rows):
        return rows
    return [
        replace(
            row,
            change=-row.change,
            low=None if row.high is None else -row.high,
            high=None if row.low is None else -row.low,
        )
        for row in rows
    ]
