"""Computes the times of cases in each boot from the samples of its workers."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

WHOLE_LOAD = "whole load"  # pseudo-case: duration of the load call, the figure of the series
# A finished worker sleeps for 10 ms at a time until the module, which stops the workers one by one,
# stops it (test_func, lib/test_vmalloc.c).
_END_OF_A_WORKER_NS = 10_000_000
ENDS_SHARE = 0.05  # of the load call, above which its duration is not used
CONDITION = ["workload", "cpus", "nr_threads"]


class Metric(StrEnum):
    """How the time of a case in a boot is computed."""

    MEAN = "worker mean"
    MAX = "slowest worker"
    LOAD = "load call"
    LAST = (
        "last worker"  # of the whole load, if stopping the workers takes too much of the load call
    )


def boot_times(samples: pd.DataFrame, passed: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with a row per boot, case and metric.

    Columns: those of the boot, `time_us`, `throughput`, `fairness`, and `work` (loops x repeats),
    which identifies passes with equal work.
    """
    keys = ["run_id", "boot"]
    work = samples[["avg_us", "loops", "repeat"]].astype("float64")
    rate = work["loops"] / work["avg_us"].clip(lower=1) * 1e6  # 0 us is below the resolution
    work = work.assign(rate=rate, square=rate**2)
    grouped = work.groupby([samples[key] for key in [*keys, "case"]], observed=True, sort=False)
    seen = grouped.agg(
        mean_us=("avg_us", "mean"),
        max_us=("avg_us", "max"),
        workers=("rate", "size"),
        rate=("rate", "sum"),
        square=("square", "sum"),
        loops=("loops", "max"),
        repeat=("repeat", "max"),
    ).reset_index()
    described = passed[[*keys, "block", "kernel", *CONDITION, "load_ns"]].astype(
        {"kernel": str, "workload": str, "run_id": str}
    )
    seen = seen.astype({"run_id": str, "case": str}).merge(described, on=keys)
    mean = _metric(seen, Metric.MEAN, seen["mean_us"]).assign(
        throughput=1e6 * seen["nr_threads"] * seen["loops"] / seen["mean_us"].clip(lower=1),
        fairness=seen["rate"] ** 2 / (seen["workers"] * seen["square"]),
    )
    slowest = _metric(seen, Metric.MAX, seen["max_us"])
    return pd.concat([mean, slowest, *_whole_loads(samples, described)], ignore_index=True)


def _whole_loads(samples: pd.DataFrame, described: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of the whole load; all boots of a condition have the same metric."""
    whole = described[described["load_ns"].notna()].assign(case=WHOLE_LOAD, loops=0, repeat=0)
    shortest_ns = whole.groupby(CONDITION)["load_ns"].transform("min").astype("float64")
    ends = _END_OF_A_WORKER_NS * whole["nr_threads"] > ENDS_SHARE * shortest_ns
    load = whole[~ends]
    yield _metric(load, Metric.LOAD, load["load_ns"].astype("float64") / 1000)
    last = whole[ends].set_index(["run_id", "boot"])
    mine = samples[samples["boot"].isin(last.index.get_level_values("boot"))]
    spent = (mine["avg_us"] * mine["repeat"].astype("int64")).groupby(
        [mine["run_id"].astype(str), mine["boot"], mine["worker"]], sort=False
    )
    last_us = spent.sum().groupby(level=[0, 1], sort=False).max()
    last = last.join(last_us.rename("last_us")).reset_index()
    yield _metric(last, Metric.LAST, last["last_us"].astype("float64"))


def _metric(frame: pd.DataFrame, metric: Metric, time_us: "pd.Series[Any]") -> pd.DataFrame:
    kept = frame[["run_id", "boot", "block", "kernel", *CONDITION, "case"]]
    return kept.assign(
        metric=metric.value,
        work=frame["loops"] * frame["repeat"],
        time_us=time_us.clip(lower=1e-3),
        throughput=np.nan,
        fairness=np.nan,
    )
