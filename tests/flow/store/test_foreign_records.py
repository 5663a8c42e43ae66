"""Stores by other programs: each value of another shape, size or type causes a clear message."""

import contextlib
import io
import json
import sqlite3
import warnings

import pytest

from harness.errors import StoreError
from harness.report.collect import as_document, collect_report
from harness.report.text import render_markdown
from harness.report.view import View
from harness.store import export
from harness.store.history import load_history
from harness.store.store import open_store
from tests.synthetic_runs import RUN, write_synthetic_run

DOCUMENTS = {
    "runs": ("plan", "host"),
    "kernels": ("facts",),
    "jobs": ("loads",),
    "boots": ("facts",),
}
VALUES = (
    "\x1b]0;x\x07",
    10**30,
    -1,
    None,
    [],
    {},
    float("nan"),
    1e308,
    [["x"]],
    {"\x1b": {}},
    True,
)
NUMBERS = {
    "jobs": ("cpus", "nr_threads", "repeat", "expected_s"),
    "boots": ("load_ns", "elapsed_s"),
    "samples": ("worker", "passed", "failed", "xfailed", "repeat", "loops", "avg_us"),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    reports = tmp_path_factory.mktemp("foreign")
    machine = {"kind": "simulated", "machine": "uniform"}
    write_synthetic_run(reports, thread_counts=(1,), repeats=2, target=machine).close()
    return reports


@contextlib.contextmanager
def changed(reports, *statement):
    """Give the store with one statement carried out, and take it back."""
    path = reports / "vmapbench.db"
    content = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA foreign_keys=OFF")
        database.execute(*statement)
    store = open_store(path)
    try:
        yield store
    finally:
        store.close()
        for old in reports.glob("vmapbench.db*"):
            old.unlink()
        path.write_bytes(content)


def read(store):
    """Read all of the run as pages and exports do. Only StoreError may come of it."""
    load_history(store)
    with contextlib.suppress(StoreError), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        store.load_run(RUN), store.jobs(RUN), store.boots(RUN)  # what is odd mostly ends here
        report = collect_report(store, RUN)
        json.dumps(as_document(report), default=str)
        render_markdown(View(report))
        export.export_run(store, RUN, "kcidb", io.BytesIO())
        export.export_run(store, RUN, "ktap", io.BytesIO())


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def placed(value, path, new):
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


@pytest.mark.parametrize("table", DOCUMENTS)
def test_a_value_of_another_kind_anywhere_ends_in_words(reports, table):
    for column in DOCUMENTS[table]:
        with contextlib.closing(sqlite3.connect(reports / "vmapbench.db")) as database:
            (text,) = database.execute(f"SELECT {column} FROM {table}").fetchone()
        paths = list(places(json.loads(text)))
        for number, path in enumerate(paths):
            # every place, but not every value at each: all pairs take minutes
            for value in VALUES[number % 8 :: 8]:
                new = json.dumps(placed(json.loads(text), path, value))
                with changed(reports, f"UPDATE {table} SET {column} = ?", (new,)) as store:
                    read(store)


@pytest.mark.parametrize("table", NUMBERS)
def test_a_number_that_no_run_gives_ends_in_words(reports, table):
    for column in NUMBERS[table]:
        for value in (-1, 0, 2**63 - 1):
            with changed(reports, f"UPDATE {table} SET {column} = ?", (value,)) as store:
                read(store)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("boots", "verdict", "splendid"),
        ("boots", "started_at", "yesterday"),
        ("runs", "started_at", "9999-99-99"),
        ("runs", "finished_at", "\x1b[2J"),
        ("runs", "plan", "{}"),
        ("jobs", "loads", "[]"),
        ("samples", "avg_us", -1),
        ("jobs", "nr_threads", 0),
    ],
)
def test_it_is_said_what_is_odd(reports, table, column, value):
    with changed(reports, f"UPDATE {table} SET {column} = ?", (value,)) as store:
        with pytest.raises(StoreError, match="reading the store: ") as caught:
            collect_report(store, RUN)
        assert "\x1b" not in str(caught.value)
        load_history(store)


@pytest.mark.parametrize(("column", "value"), [("plan", "{}"), ("started_at", "x"), ("host", "[]")])
def test_an_odd_run_takes_no_other_out_of_the_history(reports, column, value):
    others = "harness, host, plan, playbook, started_at, finished_at"
    with changed(
        reports, f"INSERT INTO runs (id, {others}) SELECT 'odd', {others} FROM runs"
    ) as store:
        before = load_history(store)
        with store.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE runs SET {column} = ? WHERE id = 'odd'", (value,))
        assert not before.empty
        assert len(load_history(store)) == len(before)
