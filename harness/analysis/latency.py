"""Summarises the latencies of calls over boots, and the cost of measuring them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.means import means_over_boots
from harness.analysis.statistics import compare_boots
from harness.analysis.times import Metric
from harness.testmod.latency import PERCENTILES, TIME_CALLS

_POINT = ["workload", "cpus", "nr_threads", "kernel"]
COLUMNS = [*_POINT, "case", "call", "percentile", "unit", "mean", "low", "high", "boots"]
COST_COLUMNS = [*_POINT, "case", "without", "change", "low", "high", "boots", "boots_without"]


class BootLatency(NamedTuple):
    """The latencies of a boot. `rows`: as of `harness.testmod.latency.parse_latencies`.

    `parameters`: of its load.
    """

    workload: str
    cpus: int
    nr_threads: int
    kernel: str
    parameters: Mapping[str, Any]
    rows: Iterable[Mapping[str, Any]]


def latency_rows(boots: Iterable[BootLatency]) -> pd.DataFrame:
    """Return a frame with the mean over boots of each percentile in ns, and its 95 % interval.

    Columns: `COLUMNS`.
    """
    values = [
        (*boot[:4], row["case"], row["call"], name, "ns", row[name])
        for boot in boots
        for row in boot.rows
        for name in PERCENTILES
    ]
    key = COLUMNS[:8]
    frame = pd.DataFrame(values, columns=[*key, "value"])
    return pd.DataFrame(columns=COLUMNS) if frame.empty else means_over_boots(frame, key)[COLUMNS]


def cost_rows(boots: Iterable[BootLatency], times: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the slowdown of each case by timing its calls.

    Columns: `COST_COLUMNS`. `without`: the workload to compare with, which differs in `time_calls`
    only; `change`: of the worker mean (0.05: 5 % slower), with its 95 % interval. Both need at
    least two boots. `times`: from `boot_times`.
    """
    timed: dict[tuple[Any, ...], Mapping[str, Any]] = {boot[:4]: boot.parameters for boot in boots}
    without = {_identity(key, of): key[0] for key, of in timed.items() if not of.get(TIME_CALLS)}
    rows = []
    mean = times[times["metric"] == Metric.MEAN.value]
    for key, parameters in timed.items():
        other = without.get(_identity(key, parameters))
        if not parameters.get(TIME_CALLS) or other is None:
            continue
        for case, of_case in mean.groupby("case", sort=False):
            sides = [_times_of(of_case, (name, *key[1:])) for name in (other, key[0])]
            if min(len(side) for side in sides) < 2:
                continue
            found = compare_boots(sides[0][None, :], sides[1][None, :], None, resolution=1.0)
            change, low, high = (
                1 / float(ratio[0]) - 1 for ratio in (found.ratio, found.high, found.low)
            )
            rows.append((*key, case, other, change, low, high, len(sides[1]), len(sides[0])))
    return pd.DataFrame(rows, columns=COST_COLUMNS)


def _identity(key: tuple[Any, ...], parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the key that points have in common if they differ in `time_calls` only."""
    others = sorted((name, str(value)) for name, value in parameters.items() if name != TIME_CALLS)
    return (*key[1:], tuple(others))


def _times_of(times: pd.DataFrame, key: tuple[Any, ...]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return times.loc[(times[_POINT] == list(key)).all(axis=1), "time_us"].to_numpy(dtype=float)
