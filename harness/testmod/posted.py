"""Results as people post them: a table of cases with their parameters and changes, as text.

    fix_size_alloc p:1 h:0 l:4000       12.3 ms   (R)  +4.2 %    +3.1 .. +5.3
    | fix_align_alloc_test: p:1, h:0, l:500000 (usec)  |  181834.00 | (I) -10.02% |

The first form is that of `vmapbench report --format list`, the second one is in use on the lists.
A change is that of the time: above 0 is slower.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

MOST_ROWS = 10_000
_LINE = 400  # characters that a row may have

_UNITS = {"ns": 1e-3, "us": 1.0, "usec": 1.0, "ms": 1e3, "s": 1e6}
_ROW = re.compile(
    r"(?P<case>whole load|[a-z]\w*?)(?:_test)?:?"
    r"\s+p:(?P<pages>\d{1,7}),?\s+h:(?P<huge>[01]),?\s+l:(?P<loops>\d{1,10})"
    r"(?:\s*\((?P<unit>ns|usec|us|ms|s)\))?"
    r"(?:[\s|]+(?:-(?=\s)|(?P<time>\d[\d.]{0,15})(?:\s?(?P<own_unit>ns|usec|us|ms|s)\b)?))?"
    r"[\s|]+(?:\((?P<mark>[RI])\)\s*)?(?P<change>[-+]?\d{1,7}(?:\.\d{1,6})?)\s?%"
    r"(?:[\s|]+(?P<low>[-+]?\d[\d.]{0,9})\s*\.\.\s*(?P<high>[-+]?\d[\d.]{0,9}))?"
)
# Where rows are long, their intervals stand below the table.
_INTERVAL = re.compile(
    r"95 %:\s+(?P<row>[a-z]\S*(?: load)? p:\d{1,7} h:[01] l:\d{1,10})"
    r"\s+(?P<low>[-+]?\d[\d.]{0,9})\s*\.\.\s*(?P<high>[-+]?\d[\d.]{0,9})"
)
# Words that a table by a tool has before the case: its name, or a quotation's marks.
_LEAD = re.compile(r"^[\s>|]*(?:[\w.-]+/[\w./-]+[\s|]+)?")


@dataclass(frozen=True)
class Posted:
    """One row. `change`: of the time, as a fraction; `low`, `high`: its interval, where given.

    `baseline_us`: the baseline's time, None where the table has none; `word`: whether the author
    calls it an improvement or a regression, empty for neither.
    """

    case: str
    nr_pages: int
    use_huge: bool
    loops: int
    baseline_us: float | None
    change: float
    low: float | None
    high: float | None
    word: Literal["improvement", "regression", ""]


def parse_posted(text: str) -> list[Posted]:
    """Return the rows in a text; what is no row is passed over."""
    found: list[Posted] = []
    names: dict[str, int] = {}  # of rows whose interval may come below
    for line in text.splitlines():
        if len(line) > _LINE or len(found) == MOST_ROWS:
            continue
        if row := _ROW.match(line, _lead(line)):
            names[" ".join(line[row.start() : row.end("loops")].split())] = len(found)
            found.append(_posted(row))
        elif below := _INTERVAL.match(line, _lead(line)):
            place = names.get(below["row"])
            if place is not None:
                low, high = (_number(below[end], 0.01) for end in ("low", "high"))
                found[place] = replace(found[place], low=low, high=high)
    return found


def _lead(line: str) -> int:
    lead = _LEAD.match(line)
    return lead.end() if lead else 0


def _posted(row: "re.Match[str]") -> Posted:
    case = row["case"]
    unit = _UNITS[row["own_unit"] or row["unit"] or "us"]
    return Posted(
        case=case if case == "whole load" else f"{case}_test",
        nr_pages=int(row["pages"]),
        use_huge=row["huge"] == "1",
        loops=int(row["loops"]),
        baseline_us=_number(row["time"], unit),
        change=round(float(row["change"]) / 100, 9),
        low=_number(row["low"], 0.01),
        high=_number(row["high"], 0.01),
        word={"I": "improvement", "R": "regression"}.get(row["mark"] or "", ""),  # type: ignore[arg-type]
    )


def _number(text: str | None, unit: float) -> float | None:
    try:
        return round(float(text) * unit, 9) if text else None
    except ValueError:  # 1.2.3
        return None
