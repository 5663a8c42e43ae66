"""Reads boots and samples into typed data frames; fast for millions of samples.

A cursor would create a Python object for every number. Instead the database joins the values of a
boot to one string per column (GROUP_CONCAT, STRING_AGG), which numpy parses: 10,000 boots are
80,000 strings instead of 60 million objects.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from harness.analysis.frames import BOOTS, SAMPLES
from harness.store import schema
from harness.store.shapes import check_range

OF_BOOT = ("run_id", "boot", "position", "kernel", "workload", "cpus", "nr_threads")
OF_SAMPLE = ("worker", "case", "passed", "failed", "xfailed", "repeat", "loops", "avg_us")
NO_XFAILED = "-1"  # represents NULL in the joined strings
_NUMBERS = tuple(name for name in OF_SAMPLE if name != "case")
_CHUNK_BOOTS = 256  # boots per query: about 20 MB of text with 64 workers and 11 cases


def boot_query(*own: str) -> sa.Select[Any]:
    """Return the query for boots in the order in which they ran.

    Columns: `OF_BOOT` (some of the boot's job), then those named in `own`, of the boot itself.
    """
    boots, jobs = schema.boots, schema.jobs
    same = (boots.c.run_id == jobs.c.run_id) & (boots.c.position == jobs.c.position)
    return (
        sa.select(
            *(boots.c[name] for name in OF_BOOT[:3]),
            *(jobs.c[name] for name in OF_BOOT[3:]),
            *(boots.c[name] for name in own),
        )
        .join_from(boots, jobs, same)
        .order_by(boots.c.run_id, boots.c.boot)
    )


def read_boots(connection: sa.Connection, runs: Sequence[str]) -> pd.DataFrame:
    """Return a frame with a row per boot of `runs`; columns of `harness.analysis.frames.BOOTS`.

    Raises StoreError if a number is out of range.
    """
    query = boot_query("verdict", "reason", "load_ns", "elapsed_s", "started_at")
    query = query.add_columns(schema.jobs.c.repeat.label("block"))
    rows = connection.execute(query.where(schema.boots.c.run_id.in_(runs)))
    names = list(rows.keys())
    values: list[Any] = list(zip(*rows.all(), strict=True)) or [[] for _ in names]
    series = {
        name: pd.Series(list(column), dtype=BOOTS[name])
        for name, column in zip(names, values, strict=True)
    }
    for name, column in series.items():
        if BOOTS[name] not in ("category", "object"):
            check_range(name, column.dropna(), BOOTS[name])
    return pd.DataFrame(series)


def read_samples(connection: sa.Connection, runs: Sequence[str]) -> pd.DataFrame:
    """Return a frame with a row per boot, worker and case of `runs`.

    Columns: `harness.analysis.frames.SAMPLES`. Raises StoreError if a number is out of range.
    """
    boots: list[sa.Row[Any]] = []
    lengths: list[int] = []
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in OF_SAMPLE}
    codes: dict[str, int] = {}
    for boot, texts in joined_samples(connection, runs):
        names = texts.case.split(",")
        for name in names:
            codes.setdefault(name, len(codes))
        boots.append(boot)
        lengths.append(len(names))
        parts["case"].append(np.fromiter(map(codes.__getitem__, names), np.int16, len(names)))
        for name in _NUMBERS:
            column = np.fromstring(getattr(texts, name), dtype=np.int64, sep=",")
            check_range(name, column, SAMPLES[name])
            parts[name].append(column.astype(SAMPLES[name].lower()))
    frame: dict[str, Any] = {
        name: _repeated(name, [boot[i] for boot in boots], lengths)
        for i, name in enumerate(OF_BOOT)
    }
    for name in OF_SAMPLE:
        frame[name] = _concatenated(name, parts.pop(name))
    cases = pd.CategoricalDtype(list(codes))
    frame["case"] = pd.Categorical.from_codes(frame["case"], dtype=cases)
    frame["xfailed"] = pd.arrays.IntegerArray(frame["xfailed"], frame["xfailed"] < 0)
    return pd.DataFrame(frame, copy=False)


def joined_samples(
    connection: sa.Connection, runs: Sequence[str]
) -> Iterator[tuple[sa.Row[Any], sa.Row[Any]]]:
    """Yield each boot that has samples, with its samples as a comma-separated string per column.

    The first row has the columns of `boot_query("id")`, the second those of `OF_SAMPLE`; all
    strings of a boot have the samples in the same order.
    """
    boots = connection.execute(boot_query("id").where(schema.boots.c.run_id.in_(runs))).all()
    key = schema.samples.c.boot_id
    query = sa.select(key, *(_joined(name) for name in OF_SAMPLE)).group_by(key)
    for start in range(0, len(boots), _CHUNK_BOOTS):
        chunk = boots[start : start + _CHUNK_BOOTS]
        rows = connection.execute(query.where(key.in_([boot.id for boot in chunk])))
        texts = {row.boot_id: row for row in rows}
        yield from ((boot, texts[boot.id]) for boot in chunk if boot.id in texts)


def _joined(name: str) -> sa.Label[str]:
    column = schema.samples.c[name]
    number = sa.func.coalesce(column, int(NO_XFAILED)) if name == "xfailed" else column
    return sa.func.aggregate_strings(sa.cast(number, sa.Text), ",").label(name)


def _repeated(name: str, values: Sequence[Any], lengths: Sequence[int]) -> Any:
    """Return an array with each value repeated `lengths` times; strings become categories."""
    if SAMPLES[name] == "category":
        category = pd.Categorical(values)
        return pd.Categorical.from_codes(
            np.repeat(category.codes, np.asarray(lengths, dtype=np.int64)), dtype=category.dtype
        )
    numbers = np.asarray(values, dtype=np.int64)
    check_range(name, numbers, SAMPLES[name])
    return np.repeat(numbers.astype(np.int32), np.asarray(lengths, dtype=np.int64))


def _concatenated(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    dtype = "int16" if name == "case" else SAMPLES[name].lower()
    return np.concatenate(parts) if parts else np.array([], dtype=dtype)
