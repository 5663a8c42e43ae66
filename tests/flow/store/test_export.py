import csv
import io
import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import jsonschema
import junitparser
import kcidb_io
import pandas as pd
import pytest

from harness.errors import InputError, StoreError
from harness.records import Sample
from harness.store import export
from harness.store.store import open_store
from harness.testmod.ktap import KtapStatus, parse_ktap
from harness.verdict import Verdict
from tests.flow.store.store_writers import (
    CASES,
    WORKERS,
    boot_record,
    job_records,
    run_record,
    sample_records,
)

RUN = run_record().id
UGLY = 'oops <b>&"\x1b[31m\0\ud800 ]]> # SKIP\n[red]not ok 1\u2028'


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run with everything in it: passed, noisy and repeated, crashed, hung, never booted."""
    store = open_store(tmp_path_factory.mktemp("store") / "a.db")
    jobs = job_records(8)
    store.create_run(run_record(), jobs)
    for position in range(3):
        store.record_boot(RUN, boot_record(position))
    store.record_boot(RUN, boot_record(3, verdict=Verdict.NOISY, reason="steal"))
    store.record_boot(RUN, boot_record(3, folder="again"))
    nothing = {"load_ns": None, "samples": ()}
    store.record_boot(RUN, boot_record(4, verdict=Verdict.CRASHED, reason=UGLY, **nothing))
    store.record_boot(RUN, boot_record(5, verdict=Verdict.TIMED_OUT, reason="late", **nothing))
    failing = Sample(0, "vm_map_ram_test", 0, 1, 0, 1, 1000, 5)
    meant = Sample(0, "align_shift_alloc_test", 0, 1, None, 1, 1000, 5)
    store.record_boot(
        RUN, boot_record(6, verdict=Verdict.TEST_FAILED, reason="1 of 1", samples=[failing, meant])
    )
    yield store
    store.close()


def exported(store, form, run_id=RUN):
    stream = io.BytesIO()
    export.export_run(store, run_id, form, stream)
    return stream.getvalue()


def test_every_format_says_what_it_is_and_writes_something(store):
    assert set(export.formats()) == {
        *("csv", "json", "junit", "kcidb", "ktap", "parquet", "pts", "pts_log"),
    }
    for form, what in export.formats().items():
        assert what.endswith(".")
        assert exported(store, form)


def test_an_unknown_format_is_refused_with_the_known_ones(store):
    with pytest.raises(InputError, match="'xls', expected one of csv, json"):
        exported(store, "xls")


def test_json_fits_its_schema_and_holds_every_sample(store):
    schema = json.loads((Path(export.__file__).parent / "run.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(exported(store, "json"))
    jsonschema.validate(document, schema)
    assert [boot["verdict"] for boot in document["boots"]].count("passed") == 4
    assert document["boots"][5]["samples"] is None
    assert document["boots"][5]["reason"] == store.boots(RUN)[5].reason
    assert document["run"]["plan"]["seed"] == 7
    columns = document["boots"][1]["samples"]
    found = {
        Sample(**dict(zip(columns, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    }
    assert found == set(sample_records(2000))


def test_the_schema_names_every_verdict():
    schema = json.loads((Path(export.__file__).parent / "run.schema.json").read_text())
    boot = schema["properties"]["boots"]["items"]["properties"]
    assert boot["verdict"]["enum"] == [verdict.value for verdict in Verdict]


def test_csv_reads_back_as_the_frame(store):
    rows = list(csv.DictReader(io.StringIO(exported(store, "csv").decode())))
    frame = store.samples_frame(RUN)
    assert list(rows[0]) == list(frame.columns)
    expected = frame.astype(object).where(frame.notna(), "").astype(str)
    assert rows == expected.to_dict("records")
    assert rows[0]["workload"] == "page[nr_threads=8,cpus=4]"


def test_parquet_reads_back_as_the_frame(store):
    import pyarrow.parquet as pq

    data = exported(store, "parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(io.BytesIO(data)), store.samples_frame(RUN), check_dtype=False
    )
    metadata = pq.read_schema(io.BytesIO(data)).metadata
    assert json.loads(metadata[b"vmapbench"])["id"] == RUN


def test_junit_tells_failures_of_the_kernel_from_errors_of_the_machinery(store):
    document = junitparser.JUnitXml.fromstring(exported(store, "junit"))
    assert (document.tests, document.failures, document.errors) == (8, 3, 1)
    assert [suite.name for suite in document] == [f"{RUN}.one-node", f"{RUN}.per-cpu"]
    crashed = next(case for suite in document for case in suite if "boot 4" in case.name)
    assert crashed.result[0].type == "crashed"
    assert "\\x1b[31m" in crashed.result[0].message


def test_ktap_reads_back_with_the_harness_own_parser(store):
    results = parse_ktap(exported(store, "ktap").decode())
    top = [result for result in results if " boot " in result.name]
    assert len(top) == len(results) == 8
    good = [result.status in (KtapStatus.PASSED, KtapStatus.SKIPPED) for result in results]
    assert good == [True] * 4 + [False] * 4


def test_ktap_has_a_subtest_a_case_and_keeps_hostile_text_on_its_line(store):
    lines = exported(store, "ktap").decode().split("\n")
    assert sum(line.startswith("  ok ") for line in lines) == 4 * len(CASES)
    assert "  not ok 2 align_shift_alloc_test # XFAIL" in lines or (
        "  not ok 1 align_shift_alloc_test # XFAIL" in lines
    )
    assert not any("\x1b" in line or line.startswith("[red]") for line in lines)
    assert [line for line in lines if line.startswith("not ok")] == [
        "not ok 5 one-node page[nr_threads=8,cpus=4] boot 4",
        "not ok 6 per-cpu page[nr_threads=8,cpus=4] boot 5 # TIMEOUT",
        "not ok 7 one-node page[nr_threads=8,cpus=4] boot 6",
        "not ok 8 per-cpu page[nr_threads=8,cpus=4] boot 7 # ERROR never booted",
    ]


def test_kcidb_is_valid_for_kcidb(store):
    report = json.loads(exported(store, "kcidb"))
    assert kcidb_io.schema.LATEST.is_valid(report)
    statuses = [test["status"] for test in report["tests"]]
    assert statuses == ["PASS"] * 4 + ["FAIL"] * 3 + ["MISS"]
    assert report["tests"][0]["number"]["value"] == pytest.approx(0.123456789)
    assert {test["build_id"] for test in report["tests"]} == {b["id"] for b in report["builds"]}


def test_pts_has_a_system_a_kernel_and_a_raw_value_a_boot(store):
    root = ET.fromstring(exported(store, "pts"))
    assert root.tag == "PhoronixTestSuite"
    names = [child.tag for child in root]
    assert names == ["Generated", "System", "System"] + ["Result"] * (1 + len(CASES))
    assert [system.findtext("Identifier") for system in root.iter("System")] == [
        "one-node",
        "per-cpu",
    ]
    wanted = ["Identifier", "Title", "AppVersion", "Arguments", "Description", "Scale"]
    wanted += ["Proportion", "DisplayFormat", "Data"]
    for result in root.iter("Result"):
        assert [child.tag for child in result] == wanted
        assert [len(entry.findtext("RawString").split(":")) for entry in result.iter("Entry")] == [
            2,
            2,
        ]
    whole = next(root.iter("Result"))
    assert whole.findtext("Scale") == "Seconds"
    assert float(whole.find("Data/Entry/Value").text) == pytest.approx(0.12345679, rel=1e-6)
    case = next(r for r in root.iter("Result") if "fix_size" in r.findtext("Arguments"))
    expected = 1000 + 10 * (WORKERS - 1) / 2
    assert float(case.find("Data/Entry/Value").text) == pytest.approx(expected)


def test_the_log_for_pts_has_a_line_a_boot_and_the_ratio_of_the_answer(store):
    lines = exported(store, "pts_log").decode().splitlines()
    values = {}
    for line in lines:
        word, _, value = line.rpartition(": ")
        values.setdefault(word, []).append(float(value))
    assert {word: len(times) for word, times in values.items()} == {
        "baseline whole load seconds": 2,
        "candidate whole load seconds": 2,
        "baseline over candidate": 1,
    }
    assert values["baseline whole load seconds"][0] == pytest.approx(0.123456789)
    assert values["baseline over candidate"] == [pytest.approx(1, rel=1e-6)]


def test_a_run_without_boots_exports_to_whatever_can_say_so(store):
    if "empty" not in set(store.list_runs()["id"]):
        store.create_run(run_record("empty"), job_records(2))
    for form in set(export.formats()) - {"pts", "pts_log"}:
        assert exported(store, form, "empty")
    with pytest.raises(InputError, match="no boot passed"):
        exported(store, "pts", "empty")


def test_no_export_carries_what_acts_on_a_terminal(tmp_path):
    store = open_store(tmp_path / "a.db")
    jobs = [replace(job, workload="w\x1b]0;owned\x07\n\u202e") for job in job_records(2)]
    store.create_run(run_record(), jobs)
    store.record_boot(RUN, boot_record(0))
    store.record_boot(
        RUN, boot_record(1, verdict=Verdict.CRASHED, reason=UGLY, load_ns=None, samples=())
    )
    for form in export.formats().keys() - {"parquet"}:
        text = exported(store, form).decode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u202e]", text), form
    store.close()


def test_a_column_that_holds_no_number_is_no_json(tmp_path):
    store = open_store(tmp_path / "a.db")
    store.create_run(run_record(), job_records(1))
    store.record_boot(RUN, boot_record(0))
    store.close()
    with sqlite3.connect(tmp_path / "a.db") as hostile:
        hostile.execute("PRAGMA writable_schema=ON")
        (sql,) = hostile.execute("SELECT sql FROM sqlite_master WHERE name = 'samples'").fetchone()
        lax = re.sub(r",\s*STRICT|STRICT\s*,?", "", sql)
        hostile.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'samples'", (lax,))
    hostile.close()
    with sqlite3.connect(tmp_path / "a.db") as hostile:
        hostile.execute("PRAGMA ignore_check_constraints=ON")
        hostile.execute("UPDATE samples SET avg_us = '1],\"x\":[1'")
    hostile.close()
    store = open_store(tmp_path / "a.db")
    with pytest.raises(StoreError, match="exporting samples: avg_us: expected integers only"):
        exported(store, "json")
    store.close()
