"""The columns of the data frames that the store passes to the analysis.

The types are small: 7 million samples (10,000 boots x 64 workers x 11 cases) take about 0.4 GB,
instead of several with objects and 64-bit columns.
"""

from collections.abc import Iterable, Mapping

import pandas as pd
from pandas.api.types import union_categoricals

from harness.errors import InputError

# A row per boot, worker and case. `boot`: number of the boot in its run; `position`: of its job;
# `avg_us`: time of a pass of `loops` loops, mean over `repeat` passes.
SAMPLES: Mapping[str, str] = {
    "run_id": "category",
    "boot": "int32",
    "position": "int32",
    "kernel": "category",
    "workload": "category",
    "cpus": "int32",
    "nr_threads": "int32",
    "worker": "int32",
    "case": "category",
    "passed": "int32",
    "failed": "int32",
    "xfailed": "Int32",  # missing for modules before 2025, which do not report it
    "repeat": "int32",
    "loops": "int32",
    "avg_us": "int64",
}

# A row per boot. `load_ns`: duration of the measured load call, missing if it was not reached;
# `block`: repeat of the playbook that the boot belongs to.
BOOTS: Mapping[str, str] = {
    "run_id": "category",
    "boot": "int32",
    "position": "int32",
    "kernel": "category",
    "workload": "category",
    "cpus": "int32",
    "nr_threads": "int32",
    "verdict": "category",
    "reason": "object",
    "load_ns": "Int64",
    "elapsed_s": "float64",
    "started_at": "object",
    "block": "int32",
}


def typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return `frame` with exactly `columns` (`SAMPLES` or `BOOTS`), in their order and types.

    Raises InputError if columns are missing.
    """
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise InputError(f"analysing results: the frame lacks the columns {', '.join(absent)}")
    if all(str(frame[name].dtype) == dtype for name, dtype in columns.items()):
        return frame[list(columns)]
    return frame[list(columns)].astype(dict(columns))


def joined(chunks: Iterable[pd.DataFrame], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the concatenated frames; each is converted to small types before reading the next."""
    parts = [typed(chunk, columns) for chunk in chunks]
    if not parts:
        return typed(pd.DataFrame(columns=list(columns)), columns)
    series: dict[str, object] = {}
    for name, dtype in columns.items():
        column = [part[name] for part in parts]
        if dtype == "category":
            series[name] = union_categoricals(column)
        else:
            series[name] = pd.concat(column, ignore_index=True)
    return pd.DataFrame(series)
