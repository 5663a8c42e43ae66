"""The units as systemd itself reads them."""

import shutil
import sys

import pytest

from harness.nightly.timer import render_units
from tests.flow.workplace import BRANCH


@pytest.fixture
def units(workplace):
    from harness.spec.nightly import load_nightly

    spec = load_nightly(workplace.file(BRANCH, at="02:30"))
    argv = [
        sys.executable,
        "-m",
        "harness.cli.main",
        "nightly",
        f"{workplace.folder}/50% of $a.yaml",
    ]
    return render_units(spec, argv, str(workplace.folder))


def verify(runner, folder, units):
    for name, text in units.items():
        (folder / name).write_text(text)
    files = [str(folder / name) for name in units]
    # A user's systemd wants a folder for its sockets.
    home = {"XDG_RUNTIME_DIR": str(folder)}
    return runner.run(["systemd-analyze", "--user", "--man=no", "verify", *files], env=home)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(units, tmp_path, runner):
    done = verify(runner, tmp_path, units)
    assert (done.returncode, done.output) == (0, "")
    odd = {name: text.replace("Type=", "Typo=") for name, text in units.items()}
    assert "Typo" in verify(runner, tmp_path, odd).output  # it does look


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_the_timer_comes_round_every_night(units, runner):
    (calendar,) = [
        line.partition("=")[2]
        for text in units.values()
        for line in text.splitlines()
        if line.startswith("OnCalendar")
    ]
    done = runner.run(["systemd-analyze", "calendar", "--iterations=3", calendar])
    assert done.returncode == 0, done.output
    assert done.output.count("02:30:00") >= 3
