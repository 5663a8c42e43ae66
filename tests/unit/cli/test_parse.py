import csv
import gzip
import io
import json
from pathlib import Path

import pytest

LOGS = Path(__file__).parents[1] / "testmod" / "logs"
WHOLE = LOGS / "6.12-four-workers-then-two.log"


@pytest.fixture
def run(vmapbench):
    def run(*arguments):
        said = vmapbench("parse", *arguments)
        assert "Traceback" not in said.output
        return said.returncode, said.stdout, said.stderr

    return run


def test_a_whole_log_is_json_with_both_runs(run):
    status, out, err = run(WHOLE)
    document = json.loads(out)
    assert (status, err) == (0, "")
    assert [len(each["summaries"]) for each in document["runs"]] == [44, 6]
    assert all(each["complete"] for each in document["runs"])
    assert {found["severity"] for found in document["findings"]} == {"note"}
    assert document["ktap"] == []


def test_the_same_log_is_csv_with_a_row_per_summary(run):
    status, out, _ = run(WHOLE, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0
    assert len(rows) == 50
    assert rows[0]["case"] == "fix_size_alloc_test"
    assert rows[0]["avg_us"] == "495"
    assert rows[-1]["run"] == "2"


def test_an_incomplete_log_says_what_is_missing_and_still_prints(run):
    status, out, err = run(LOGS / "cut-off.log")
    assert status == 1
    assert json.loads(out)["runs"][0]["complete"] is False
    assert "run 1: worker 1: no summary of " in err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00junk", b"no module here\n"])
def test_a_log_without_the_module_is_not_a_success(run, tmp_path, content):
    (tmp_path / "log").write_bytes(content)
    status, out, err = run(tmp_path / "log")
    assert status == 1
    assert json.loads(out)["runs"] == []
    assert "contains no line of test_vmalloc" in err


@pytest.mark.parametrize("name", ["absent.log", ".", "nul\0byte"])
def test_an_unreadable_file_is_the_users_to_mend(run, tmp_path, name):
    status, out, err = run(f"{tmp_path}/{name}")
    assert (status, out) == (2, "")
    assert "cannot read" in err


def test_a_long_line_is_cut_and_said_so_and_a_broken_one_is_named(run, tmp_path):
    head = "[ 1.0] Summary: fix_size_alloc_test passed: 1 failed: 0 repeat: 1 loops: 2"
    (tmp_path / "log").write_text(f"{'x' * 10_000}\n{head}\n")
    status, out, err = run(tmp_path / "log")
    assert status == 1
    assert "line 1 has 10,000 characters" in err
    assert "not understood" in err
    assert "fix_size_alloc_test" in err


def test_a_packed_log_is_read(run, tmp_path):
    (tmp_path / "log").write_bytes(gzip.compress(WHOLE.read_bytes()))
    assert run(tmp_path / "log")[0] == 0
