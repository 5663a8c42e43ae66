"""Formats comparisons as text: the sentence for a run, ratios, and names of workloads."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from harness.analysis.judging import Word
from harness.analysis.statistics import MIN_BOOTS
from harness.analysis.times import WHOLE_LOAD, Metric

NOTHING = "\N{EN DASH}"  # shown for a missing value
_NAMED = 3  # maximum number of candidates or cases in the sentence


def answer(
    rows: pd.DataFrame,
    baseline: str,
    candidates: Sequence[str],
    smallest: float,
    label: Callable[[str], str] = str,
) -> str:
    """Return the sentence that summarises a run.

    It is about the whole load with the most threads, a choice made before measuring: the largest of
    many differences would be biased, and its interval too narrow. Of several workloads it is the
    first by name. The number of cases with each verdict follows. `rows`: of a `Comparison`;
    `label`: returns the displayed name of a kernel.
    """
    if not candidates:
        return f"There is nothing to compare with {label(baseline)}."
    rows = rows[rows["metric"] != Metric.MAX]
    parts = []
    several = rows["workload"].map(series_name).nunique() > 1
    for candidate in candidates[:_NAMED]:
        load = headline_row(rows, candidate)
        where = _where(load, several) if load is not None else ""
        parts.append(_of_load(load, label(candidate), label(baseline), where, smallest))
    if more := len(candidates) - len(parts):
        parts.append(f"{more} more in the table")
    cases = rows[rows["case"] != WHOLE_LOAD]
    said = ". ".join(parts)
    loads = {row.word for row in (headline_row(rows, c) for c in candidates) if row is not None}
    return "; ".join([said, *_of_cases(cases, loads)]) + "."


def headline_row(rows: pd.DataFrame, candidate: str) -> Any:
    """Return the row of a candidate that the sentence is about, or None."""
    load = rows[(rows["case"] == WHOLE_LOAD) & (rows["candidate"] == candidate)]
    load = load.sort_values(
        ["nr_threads", "cpus", "workload"], ascending=[False, False, True], kind="stable"
    )
    return next(load.itertuples(index=False), None)


def _where(row: Any, several: bool) -> str:
    """Return a phrase for the load of a row, with the workload if there are several."""
    what = f"the whole load of {series_name(row.workload)}" if several else "the whole load"
    return f"over {what} at {threads_text(row.nr_threads)}"


def _of_load(row: Any, candidate: str, baseline: str, where: str, smallest: float) -> str:
    if row is None:
        return f"No boot of {candidate} can be compared with {baseline}"
    interval = f"95 % interval {interval_text(row)}"
    both = f"{candidate} and {baseline}"
    match row.word:
        case Word.FASTER | Word.SLOWER:
            return f"{candidate} is {speed_text(row.ratio)} than {baseline} {where} ({interval})"
        case Word.ALIKE:
            return f"{both} are alike {where}: within {change(smallest)} of each other"
        case Word.NO_DIFFERENCE:
            seen = f"a change of {change(row.detectable)} would have been seen 4 times in 5"
            return f"No difference shown between {both} {where}; {seen}"
        case Word.TOO_NOISY:
            seen = f"only a change of {change(row.detectable)} would have been seen 4 times in 5"
            return f"No difference shown between {both} {where}: too noisy, {seen}"
        case Word.TOO_FEW:
            boots = f"{row.boots_baseline} and {row.boots_candidate} passed"
            return f"Too few boots to compare {both} {where}: {boots}, it takes {MIN_BOOTS} of each"
    passed = {baseline: row.boots_baseline, candidate: row.boots_candidate}
    failed = [name for name, count in passed.items() if not count]
    why = f"no boot of {' and '.join(failed)} passed" if failed else row.note
    return f"{both} are not comparable {where}" + (f": {why}" if why else "")


def _of_cases(cases: pd.DataFrame, of_load: set[str]) -> Iterator[str]:
    """Yield "of 3 cases: 2 faster (a, b), 1 alike"; nothing if all have the load's verdict."""
    same = set(cases["word"]) == of_load
    if same and (len(cases) == 1 or of_load <= {Word.TOO_FEW, Word.NOT_COMPARABLE}):
        return
    if len(cases) == 0:
        return
    phrases = {
        Word.FASTER: "faster",
        Word.SLOWER: "slower",
        Word.ALIKE: "alike",
        Word.NO_DIFFERENCE: "with no difference shown",
        Word.TOO_NOISY: "too noisy to tell",
        Word.TOO_FEW: "with too few boots",
        Word.NOT_COMPARABLE: "not comparable",
    }
    parts = []
    for word, phrase in phrases.items():
        found = cases[cases["word"] == word]
        if not len(found):
            continue
        names = list(dict.fromkeys(map(short_case, found["case"])))
        few = word in (Word.FASTER, Word.SLOWER) and len(names) <= _NAMED < len(cases)
        parts.append(f"{len(found)} {phrase}" + (f" ({', '.join(names)})" if few else ""))
    what = "case" if len(cases) == cases["case"].nunique() else "comparison"
    yield f"of {len(cases)} {what}{'s' * (len(cases) > 1)}: {', '.join(parts)}"


def speed_text(ratio: float) -> str:
    """Return a ratio of times as "8.3x faster", "4 % faster" or likewise with "slower"."""
    word, factor = (Word.FASTER, ratio) if ratio >= 1 else (Word.SLOWER, 1 / ratio)
    if factor < 1.1:
        return f"{(factor - 1) * 100:.1f} % {word}"
    return f"{number(factor)}x {word}"


def interval_text(effect: Any) -> str:
    """Return the interval of `effect` (ratio, low, high) in the format of `speed_text`."""
    ends = (effect.low, effect.high) if effect.ratio >= 1 else (1 / effect.high, 1 / effect.low)
    if max(effect.ratio, 1 / effect.ratio) < 1.1:
        low, high = ((end - 1) * 100 for end in ends)
        return f"{low:.1f} to {high:.1f} %"
    return f"{number(ends[0])} to {number(ends[1])}"


def change(fraction: float) -> str:
    """Return a relative change as "4.2 %", "85 %", or from a factor of 10 on "12x"."""
    if not math.isfinite(fraction):
        return NOTHING
    if fraction >= 9:
        return f"{fraction + 1:.0f}x" if fraction < 999 else "> 1000x"
    return f"{fraction * 100:.1f} %" if fraction < 0.1 else f"{fraction * 100:.0f} %"


def number(value: float) -> str:
    """Return a ratio with three significant digits."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2f}"


def threads_text(count: int) -> str:
    """Return "1 thread" or "64 threads"."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def short_case(case: str) -> str:
    """Return a case's name without the common suffix "_test"."""
    return case.removesuffix("_test")


def format_ratio(value: float) -> str:
    """Return a ratio with a fixed number of decimals, for a column."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def base_workload(workload: str) -> str:
    """Return a workload's name without its point of a sweep: "page" for "page[nr_threads=4]"."""
    return workload.split("[", maxsplit=1)[0]


def sweep_parameters(workload: str) -> list[str]:
    """Return the parameters of a point of a sweep, without the numbers of threads and CPUs."""
    points = workload.rstrip("]").partition("[")[2]
    return [p for p in points.split(",") if p and p.split("=")[0] not in ("nr_threads", "cpus")]


def series_name(workload: str) -> str:
    """Return the name of a workload's series over sizes: its name and other parameters."""
    return " ".join([base_workload(workload), *sweep_parameters(workload)])
