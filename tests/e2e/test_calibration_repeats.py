"""The measurement behind the prediction, in a real guest, and that it repeats."""

import subprocess
import sys

import pytest

from harness.model.calibration import parse_calibration
from harness.model.predict import load_calibration


def calibrate(*words):
    argv = [sys.executable, "-m", "harness.cli.main", "calibrate", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_the_shipped_calibration_comes_from_its_command(built, tmp_path):
    built("node-limit")
    folder = tmp_path / "calibration"
    done = calibrate("--output", folder)
    assert done.returncode == 0, done.stderr
    assert "testing" in done.stderr  # progress
    measured = parse_calibration((folder / "calibration.json").read_text(), "measured")
    shipped = load_calibration()
    assert measured.cases.keys() == shipped.cases.keys()
    for case, settings in shipped.cases.items():
        for nodes, profile in settings.items():
            again = measured.cases[case][nodes].work.instructions
            # The guest's timer ticks are in it, more of them on a busy host.
            assert again == pytest.approx(profile.work.instructions, rel=0.15), (case, nodes)

    refused = calibrate("--output", folder)
    assert refused.returncode == 2
    assert "name a new folder" in refused.stderr
