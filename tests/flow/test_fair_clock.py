"""The clock that ends tests which hang."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fair_clock import FairClock, share

REPOSITORY = Path(__file__).parents[2]


def test_what_was_waited_for_does_not_count():
    before = {1: (100, 100), 2: (0, 0)}
    assert share(before, {1: (400, 100), 2: (0, 0)}) == 1
    assert share(before, {1: (200, 300), 2: (0, 0)}) == pytest.approx(1 / 3)
    assert share(before, {1: (100, 100), 3: (50, 50)}) == 0.5  # 2 has ended, 3 has begun
    assert share(before, before) == 1  # all slept: time passes as usual


def test_a_test_that_hangs_is_ended_and_says_so(tmp_path):
    (tmp_path / "test_hang.py").write_text(
        "import subprocess\n"
        "def test_hang(): subprocess.run(['sleep', '600'])\n"
        "def test_next(): pass\n"
    )
    argv = [sys.executable, "-m", "pytest", "-p", "tests.fair_clock", "-o", "timeout=1", "-q"]
    done = subprocess.run(
        [*argv, "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "hangs: not done after 1 s" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_the_clock_never_runs_ahead_of_the_wall():
    began = time.monotonic()
    clock = FairClock(0.2, signal_test=lambda: None)
    clock.start()
    while clock.now_s < 0.2:
        time.sleep(0.01)
    clock.stop()
    assert clock.now_s <= time.monotonic() - began
