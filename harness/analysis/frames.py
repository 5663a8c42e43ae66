"""The columns of the frames that the store passes to the analysis.

The types are small on purpose: 7 million samples (10,000 boots x 64 workers x 11 cases) take
about 0.4 GB, where objects and 64-bit columns would take several.
"""

from collections.abc import Iterable, Mapping

import pandas as pd
from pandas.api.types import union_categoricals

from harness.errors import InputError

# One row per boot, worker and case. `boot` is unique in its run, `position` the order in which the
# boots ran; `avg_us` is the time of one whole pass of `loops` loops, mean over `repeat` passes.
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
    "xfailed": "Int32",  # missing where the module does not tell (before 2025)
    "repeat": "int32",
    "loops": "int32",
    "avg_us": "int64",
}

# One row per boot. `load_ns` is the wall time of the measured load call, missing where it was
# never reached; `block` the repeat of the playbook that the boot belongs to.
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

    Raises InputError naming the columns that are missing.
    """
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise InputError(f"analysing results: no column {', '.join(absent)} in the frame")
    if all(str(frame[name].dtype) == dtype for name, dtype in columns.items()):
        return frame[list(columns)]
    return frame[list(columns)].astype(dict(columns))


def joined(chunks: Iterable[pd.DataFrame], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return frames under each other, each brought to small types before the next one is read.

    A reader of a large store yields chunks, so that its rows never stand in memory as objects.
    """
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
