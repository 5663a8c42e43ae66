"""The rows of a comparison and of a run's throughputs, as dataclasses."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.compare import Comparison
from harness.analysis.judging import Word
from harness.analysis.times import WHOLE_LOAD, Metric, boot_times
from harness.analysis.wording import base_workload

POINT = ["workload", "cpus", "nr_threads"]  # a size of a workload
_KEY = [*POINT, "case", "kernel"]


@dataclass(frozen=True)
class Effect:
    """A row of a comparison; see `harness.analysis.compare.Comparison`.

    `ratio`: baseline's time / the kernel's, NaN if not comparable. `detectable`: smallest speed-up
    that these boots could show, as a fraction. `word`: the verdict.
    """

    workload: str
    cpus: int
    nr_threads: int
    case: str
    kernel: str
    baseline: str
    ratio: float
    low: float
    high: float
    p: float
    p_adjusted: float
    detectable: float
    boots: int
    boots_baseline: int
    metric: str
    word: str
    note: str

    @property
    def shown(self) -> bool:
        """Whether a difference is shown; only such rows are coloured."""
        return self.word in (Word.FASTER, Word.SLOWER)

    @property
    def secondary(self) -> bool:
        """Whether the row only supplements that of the worker mean."""
        return self.metric == Metric.MAX

    @property
    def comparable(self) -> bool:
        """Whether there is a ratio."""
        return math.isfinite(self.ratio) and math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Throughput:
    """The throughput of a case on a kernel at a size; NaN if unknown.

    `avg_us`: time of a pass of `loops` loops, mean over workers, geometric mean over boots.
    `per_s`: threads x loops / that time, with its 95 % interval over boots. `spread`: coefficient
    of variation between boots. `fairness`: Jain's index over workers, mean over boots.
    `slowest_us`: time of the slowest worker's pass, geometric mean over boots.
    """

    workload: str
    cpus: int
    nr_threads: int
    case: str
    kernel: str
    loops: int
    repeat: int
    boots: int
    avg_us: float
    slowest_us: float
    per_s: float
    per_s_low: float
    per_s_high: float
    spread: float
    fairness: float


def effects_of(comparison: Comparison) -> list[Effect]:
    """Return the rows of a comparison."""
    renamed = {"candidate": "kernel", "boots_candidate": "boots"}
    table = comparison.rows.rename(columns=renamed).assign(baseline=comparison.baseline)
    names = list(Effect.__dataclass_fields__)
    effects = [
        Effect(**dict(zip(names, row, strict=True))) for row in table[names].itertuples(index=False)
    ]
    order = {WHOLE_LOAD: 0}
    return sorted(
        effects,
        key=lambda e: (
            base_workload(e.workload),
            e.nr_threads,
            e.cpus,
            e.workload,
            order.get(e.case, 1),
            e.metric == Metric.MAX,
            e.case,
            e.kernel,
        ),
    )


def throughputs_of(measured: pd.DataFrame, passed: pd.DataFrame) -> Iterator[Throughput]:
    """Yield a row per case, kernel and size. `measured`: samples; `passed`: passed boots."""
    if passed.empty:
        return
    found = measured.groupby(["workload", "case"], observed=True)[["loops", "repeat"]].max()
    passes = {key: (loops, repeat) for key, loops, repeat in found.itertuples()}
    times = boot_times(measured, passed)
    slowest = times[times["metric"] == Metric.MAX].groupby(_KEY)["time_us"].agg(stats.gmean)
    for key, boots in times[times["metric"] != Metric.MAX].groupby(_KEY, sort=True):
        workload, cpus, threads, case, kernel = cast("tuple[str, int, int, str, str]", key)
        whole = case == WHOLE_LOAD
        loops, repeat = (0, 0) if whole else passes[workload, case]
        low, high = mean_interval(boots["throughput"].to_numpy(float))
        yield Throughput(
            workload=workload,
            cpus=int(cpus),
            nr_threads=int(threads),
            case=case,
            kernel=kernel,
            loops=int(loops),
            repeat=int(repeat),
            boots=len(boots),
            avg_us=float(stats.gmean(boots["time_us"])),
            slowest_us=math.nan if whole else float(slowest.loc[key]),
            per_s=float(stats.gmean(boots["throughput"])),
            per_s_low=low,
            per_s_high=high,
            spread=float(boots["time_us"].std() / boots["time_us"].mean()),
            fairness=float(boots["fairness"].mean()) if threads > 1 else math.nan,
        )


def mean_interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 95 % interval of the geometric mean (Student's t on logarithms).

    NaN for fewer than two values.
    """
    if len(values) < 2 or not np.all(values > 0):
        return math.nan, math.nan
    logs = np.log(values)
    reach = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return float(np.exp(logs.mean() - reach)), float(np.exp(logs.mean() + reach))
