"""Names that a kernel, a host or a foreign store chose, on their way to charts and paths."""

import dataclasses
import sqlite3
import subprocess
import sys

import altair as alt
import pytest

from harness.errors import StoreError
from harness.records import BootRecord, JobRecord, RunRecord
from harness.report.drawing import DrawingError, draw
from harness.report.page import figure_or_error
from harness.report.write import write_results
from harness.store.store import open_store
from harness.verdict import Verdict
from tests.synthetic_runs import write_synthetic_run

_RUN = RunRecord("20260102-030405-a-0000", "", {"baseline": "a", "kernels": ["a"]}, "", {}, "")
_JOB = JobRecord(0, "a", "w[nr_threads=4]", 1, 1, (), 0, 1.0)
_BOOT = BootRecord(0, Verdict.PASSED, "", 1, 1.0, "", "logs/0000-a-1-beef")

_DRAWS = """
import sys, altair as alt, pandas as pd
from harness.report.drawing import draw
frame = pd.DataFrame({"symbol": [sys.argv[1].encode().decode("unicode_escape")], "share": [0.5]})
print(draw(alt.Chart(frame).mark_bar().encode(x="share:Q", y="symbol:N")))
"""


@pytest.mark.parametrize("name", [r"a\x1bb", r"a\x00b\ufffe"])
def test_a_control_character_in_a_symbol_does_not_end_the_process(name):
    done = subprocess.run(
        [sys.executable, "-c", _DRAWS, name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-300:]
    assert "a\N{REPLACEMENT CHARACTER}b" in done.stdout


def test_a_drawing_that_fails_costs_its_chart():
    figure = figure_or_error("workers", lambda: {}["missing"])
    assert "workers" in figure.title
    assert "KeyError" in figure.reading


def test_what_the_drawing_library_cannot_read_is_an_error_not_the_end():
    with pytest.raises(DrawingError):
        draw(alt.Chart("data.csv", mark={"type": "bar"}, transform=[{"filter": "(("}]))


@pytest.mark.parametrize(
    "name",
    ["../../ESCAPED", "..", ".", "", "/etc", "a/b", "a\n", "a\0", "-a", ".hidden", "a" * 200],
)
def test_no_record_leads_elsewhere(name):
    for record, change in (
        (_RUN, {"id": name}),
        (_RUN, {"kernels": {name: {}}}),
        (_RUN, {"plan": {"baseline": "a", "kernels": ["a", name]}}),
        (_RUN, {"plan": {"baseline": name}}),
        (_JOB, {"kernel": name}),
        (_BOOT, {"folder": f"logs/{name}" if name != "a/b" else "/etc/passwd"}),
    ):
        with pytest.raises(StoreError, match="is not a name"):
            dataclasses.replace(record, **change)


def test_what_the_store_holds_otherwise_is_no_run(tmp_path):
    reports = tmp_path / "in" / "reports"
    reports.mkdir(parents=True)
    write_synthetic_run(reports, thread_counts=(2,), repeats=2).close()
    with sqlite3.connect(reports / "vmapbench.db") as store:
        store.execute("PRAGMA foreign_keys=OFF")
        for table, column in (("runs", "id"), ("jobs", "run_id"), ("boots", "run_id")):
            store.execute(f"UPDATE {table} SET {column} = '../../ESCAPED'")
    store.close()
    opened = open_store(reports / "vmapbench.db")
    assert opened.list_runs().empty
    for ask in (lambda: opened.resolve("latest"), lambda: opened.resolve("../")):
        with pytest.raises(Exception, match="no id begins"):
            ask()
    with pytest.raises(StoreError, match="is not a name"):
        write_results(opened, "../../ESCAPED", reports)
    opened.close()
    assert [each.name for each in tmp_path.iterdir()] == ["in"]
