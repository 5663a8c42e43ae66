"""Finds change points in the history, in a series per host, kernel line, case and threads.

The boots of a run give one value, and runs are compared independently of the time between them. If
runs have a baseline, the values are ratios to it, which cancels disturbances by the host.
docs/explanation/history.md explains the rule.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from harness.analysis.contrasts import detectable_change, find_local_steps
from harness.analysis.frames import typed
from harness.analysis.steps import Floats, LevelStep, Scatter, find_steps, outliers

# A row per passed boot and case; see `harness.store.history`. `host`: name of the machine,
# `machine`: digest of its facts, `line`: the kernel line that continues over runs, `toolchain`,
# `work`: texts or digests; if one of them changes, levels are not compared across the change.
# `baseline`: the line that the run compares with, empty if it is this line or there is none;
# `baseline_source`: its description; `baseline_us`: its median time in the same run, workload and
# case; `baseline_squares`: sum of squared deviations of the logarithms of its times from their
# mean, with `baseline_freedom` degrees of freedom. `started_at`: of the run, ISO 8601 in UTC.
HISTORY: Mapping[str, str] = {
    "host": "str",
    "line": "str",
    "workload": "str",
    "cpus": "int64",
    "nr_threads": "int64",
    "case": "str",
    "run_id": "str",
    "started_at": "str",
    "toolchain": "str",
    "work": "str",
    "time_us": "float64",
    "machine": "str",
    "baseline": "str",
    "baseline_source": "str",
    "baseline_us": "float64",
    "baseline_squares": "float64",
    "baseline_freedom": "float64",
}
_LONG_GAP = 3.0  # times the usual time between two runs


class TrackedSeries(NamedTuple):
    """The key of a series; values are only compared within a series.

    `host`: for times with the digest of its facts, for ratios to `baseline` without.
    """

    host: str
    line: str
    workload: str
    cpus: int
    nr_threads: int
    case: str
    baseline: str = ""


class Direction(StrEnum):
    """The direction of a change."""

    SLOWER = "slower"
    FASTER = "faster"


@dataclass(frozen=True)
class LevelChange:
    """A change of level. Percentages are of the time before: 5.0 means 5 % slower.

    `at_run`, `at`: id and time of the first run on the new level; `found_run`: the run that
    confirmed it. `low_percent`, `high_percent`: 95 % interval.
    """

    series: TrackedSeries
    at_run: str
    at: str
    found_run: str
    direction: Direction
    size_percent: float
    low_percent: float
    high_percent: float


class Kind(StrEnum):
    """The kind of a remark."""

    OUTLIER = "outlier"
    TOOLCHAIN = "toolchain changed"
    WORK = "workload changed"
    MACHINE = "machine changed"
    BASELINE = "baseline changed"
    GAP = "runs missing before"


@dataclass(frozen=True)
class Remark:
    """A remark on a run in a history, which is not a change of level."""

    run_id: str
    kind: Kind
    text: str


@dataclass(frozen=True, eq=False)
class Track:
    """A series with its changes and remarks.

    `runs`: frame with run_id, started_at, time_us, boots, baseline_us (NaN without a baseline), by
    time. `detectable_change`: for series without a baseline, the relative change that would be
    detected now, None if none would.
    """

    series: TrackedSeries
    runs: pd.DataFrame
    changes: tuple[LevelChange, ...]
    remarks: tuple[Remark, ...]
    detectable_change: float | None = None

    @property
    def followed(self) -> "pd.Series[float]":
        """The values of the series, one per run: times in us, or ratios to the baseline's time."""
        times = self.runs["time_us"]
        return times / self.runs["baseline_us"] if self.series.baseline else times

    @property
    def breaks(self) -> set[str]:
        """The ids of the runs before which levels are not compared with later ones."""
        return {remark.run_id for remark in self.remarks if remark.kind in breaking(self.series)}


def breaking(series: TrackedSeries) -> set[Kind]:
    """Return the kinds of remarks that break a series.

    Changes of compiler or machine do not break a ratio, as they affect both kernels.
    """
    alone = set() if series.baseline else {Kind.TOOLCHAIN}
    return {Kind.WORK, Kind.BASELINE} | alone


def find_changes(history: pd.DataFrame) -> list[LevelChange]:
    """Return all changes of level in `history` (columns `HISTORY`), oldest first.

    A new run only adds changes, with its id as `found_run`. Raises InputError if a column is
    missing.
    """
    found = [change for track in follow(history) for change in track.changes]
    return sorted(found, key=lambda change: (change.at, change.series))


def follow(history: pd.DataFrame) -> list[Track]:
    """Return each series of `history` with its changes and remarks."""
    history = typed(history, HISTORY).copy()
    alone = history["baseline_us"].isna() | (history["baseline"] == "")
    history.loc[alone, "host"] += " (" + history["machine"][alone] + ")"
    history.loc[alone, ["baseline", "baseline_source"]] = ""
    return [
        _follow_one(TrackedSeries(*cast("tuple[Any, ...]", key)), boots)
        for key, boots in history.groupby(list(TrackedSeries._fields), sort=True)
    ]


def _follow_one(series: TrackedSeries, boots: pd.DataFrame) -> Track:
    runs = _runs(boots)
    remarks = list(_condition_remarks(runs))
    plain = Track(series, runs, (), tuple(remarks))
    values = np.log(plain.followed.to_numpy(float))
    restarts = [i for i, run in enumerate(runs["run_id"]) if run in plain.breaks]
    if series.baseline:
        steps = find_steps(values, restarts, scatter=_scatter(runs))
    else:
        steps = find_local_steps(values, restarts)
    remarks += _outlier_remarks(runs, values, sorted({0, *restarts, *(s.at for s in steps)}))
    remarks += _gap_remarks(runs)
    changes = tuple(_change(series, runs, step) for step in steps)
    least = None if series.baseline else detectable_change(values, steps, restarts)
    return Track(series, runs, changes, tuple(remarks), least)


def _runs(boots: pd.DataFrame) -> pd.DataFrame:
    """Return a row per run with the median of its boots, which is robust to outliers."""
    kept = [
        *("toolchain", "work", "machine", "baseline_source"),
        *("baseline_us", "baseline_squares", "baseline_freedom"),
    ]
    runs = boots.groupby(["started_at", "run_id"], sort=True).agg(
        time_us=("time_us", "median"),
        boots=("time_us", "size"),
        squares=("time_us", squares_of_logs),
        **{name: (name, "first") for name in kept},
    )
    return runs.reset_index()


def _scatter(runs: pd.DataFrame) -> Scatter:
    """Return the scatter of the boots of each run and its baseline."""
    squares = runs["squares"] + runs["baseline_squares"].fillna(0.0)
    freedom = runs["boots"] - 1 + runs["baseline_freedom"].fillna(0.0)
    return Scatter(squares.to_numpy(float), freedom.to_numpy(float))


def squares_of_logs(times_us: "pd.Series[float]") -> float:
    """Return the sum of squared deviations of the logarithms of times from their mean."""
    logs = np.log(times_us.to_numpy(float))
    return float(((logs - logs.mean()) ** 2).sum())


def _condition_remarks(runs: pd.DataFrame) -> Iterator[Remark]:
    columns = {
        "toolchain": Kind.TOOLCHAIN,
        "work": Kind.WORK,
        "machine": Kind.MACHINE,
        "baseline_source": Kind.BASELINE,
    }
    for column, kind in columns.items():
        before = runs[column].shift()
        for row in runs[(runs[column] != before) & before.notna()].index:
            text = f"{before[row]} before, {runs.loc[row, column]} since"
            yield Remark(str(runs.loc[row, "run_id"]), kind, text)


def _outlier_remarks(runs: pd.DataFrame, values: Floats, levels: list[int]) -> Iterator[Remark]:
    for run in outliers(values, levels):
        begin = max(level for level in levels if level <= run)
        end = min((level for level in levels if level > run), default=len(values))
        away = _percent(values[run] - float(np.median(values[begin:end])))
        text = f"{away:+.1f} % from its level"
        yield Remark(str(runs["run_id"].iloc[run]), Kind.OUTLIER, text)


def _gap_remarks(runs: pd.DataFrame) -> Iterator[Remark]:
    times = pd.to_datetime(runs["started_at"], format="ISO8601", utc=True)
    gaps: Any = times.diff().dt.total_seconds() / 86_400
    long = gaps > max(_LONG_GAP * float(gaps.median()), 1.0)  # False for a single run
    for row in gaps[long].index:
        text = f"{gaps[row]:.0f} days without a run"
        yield Remark(str(runs.loc[row, "run_id"]), Kind.GAP, text)


def _change(series: TrackedSeries, runs: pd.DataFrame, step: LevelStep) -> LevelChange:
    low, high = _percent(step.low), _percent(step.high)
    return LevelChange(
        series=series,
        at_run=str(runs["run_id"].iloc[step.at]),
        at=str(runs["started_at"].iloc[step.at]),
        found_run=str(runs["run_id"].iloc[step.found]),
        direction=Direction.SLOWER if step.shift > 0 else Direction.FASTER,
        size_percent=_percent(step.shift),
        low_percent=low,
        high_percent=high,
    )


def _percent(logarithm: float) -> float:
    return float(np.expm1(logarithm) * 100)
