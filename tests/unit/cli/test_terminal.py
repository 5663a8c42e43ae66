"""Output has no effect on the terminal, and is printed with any kind of stream."""

import contextlib
import io
import os
import sqlite3
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from harness.build.kernel import BuildProgress
from harness.cli.progress import Bar, columns
from harness.console import shown
from harness.records import JobRecord
from tests.synthetic_runs import RUN, write_synthetic_run

_TITLE = "\x1b]0;owned\x07\x1b[2J"
_CLI = [sys.executable, "-m", "harness.cli.main"]


def test_the_bar_shows_a_workload_as_it_is_and_obeys_nobody():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    with Progress(*columns(), console=console) as progress:
        bar = Bar(progress)
        bar.boot_began(JobRecord(0, "a", "w[nr_threads=4]", 1, 4, (), 0, 1.0), 1)
        bar.phase(f"[bold]{_TITLE}booting")
        progress.refresh()
        bar.say(f"host says {_TITLE}[red]")
        bar.build(BuildProgress("a", f"{_TITLE}[blue]compiling", 1, 2))
        progress.refresh()
    shown = screen.getvalue()
    assert "[blue]compiling" in shown
    assert "w[nr_threads=4]: [bold]" in shown
    assert "[red]" in shown
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown


def test_a_value_in_a_table_is_shown_as_it_is():
    text = shown(f"w[nr_threads=4] [bold]{_TITLE}\nsecond [/]")
    assert text.plain == "w[nr_threads=4] [bold] second [/]"
    assert text.spans == []


def run(*argv, shell="", **options):
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", *_CLI, *argv]
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **options)


def test_an_error_text_acts_on_nothing(tmp_path):
    book = tmp_path / "book.yaml"
    book.write_text('version: 1\n"a\\x1b]0;owned\\x07": 1\n')
    done = run("check", str(book))
    assert done.returncode == 2
    assert b"\x1b" not in done.stderr
    assert b"owned" in done.stderr or "\N{REPLACEMENT CHARACTER}".encode() in done.stderr


@pytest.mark.parametrize("shell", ["2>&-", "<&- 2>&-", ">&- 2>&-"])
def test_a_closed_stream_changes_no_exit_code_and_no_file(shell, tmp_path):
    assert run("check", str(tmp_path / "missing.yaml"), shell=shell).returncode == 2
    assert run("list", "--reports", str(tmp_path / "none"), shell=shell).returncode == 2
    assert not (tmp_path / "none").exists()


def test_a_full_disk_at_standard_output_is_said():
    done = run("--version", shell=">/dev/full")
    assert done.returncode == 3
    assert b"vmapbench: No space left" in done.stderr  # and not as an internal error
    assert b"next: make room" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1"])
def test_streams_that_are_not_utf_8_take_every_character(tmp_path, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = run("check", str(tmp_path / "größer \N{SNOWMAN}.yaml"), env=environment)
    assert done.returncode == 2
    assert b"no playbook" in done.stderr
    write_synthetic_run(tmp_path, thread_counts=(2,), repeats=2).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "vmapbench.db")) as store, store:
        store.execute("UPDATE jobs SET workload = 'w\N{SNOWMAN}'")
    for verb in (["show", RUN], ["export", RUN, "-f", "ktap"]):
        done = run(*verb, "--reports", str(tmp_path), env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
    assert "w\N{SNOWMAN}".encode() in done.stdout  # a file format has an encoding of its own
