"""The command line as a whole: exit codes, messages, no tracebacks."""

import subprocess
import sys

import pytest


def test_version_and_help(vmapbench):
    assert vmapbench("--version").stdout.startswith("vmapbench 0.")
    help_text = vmapbench("--help").stdout
    for verb in ("run", "check", "build", "parse", "doctor"):
        assert f" {verb} " in help_text


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["check", "/nothing/here.yaml"], 2, "no playbook /nothing/here.yaml"),
        (["parse", "/nothing/here"], 2, "cannot read"),
        (["frobnicate"], 2, "No such command"),
        (["run"], 2, "name a playbook, or --resume"),
    ],
)
def test_what_goes_wrong_is_said_without_a_traceback(vmapbench, words, status, says):
    done = vmapbench(*words)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == status


def test_debug_shows_the_traceback(vmapbench):
    assert "Traceback" in vmapbench("--debug", "check", "/nothing").stderr


def test_an_unexpected_error_is_a_line_and_exit_code_3(vmapbench, tmp_path):
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "vmapbench.db").write_bytes(b"no database at all" * 100)
    done = vmapbench("run", "--resume", "latest", "--reports", reports)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "vmapbench.db" in done.stderr


def test_a_reader_that_goes_away_is_no_error_to_a_real_process():
    argv = f"{sys.executable} -m harness.cli.main --help | head -c 1 >/dev/null"
    done = subprocess.run(["bash", "-c", argv], capture_output=True, check=False, timeout=60)
    assert done.stderr == b""
