"""The command line as a user meets it, called in this process: a new one each time is slow."""

import sys
from dataclasses import dataclass

import pytest

from harness.cli import main as command_line


@dataclass(frozen=True)
class Said:
    """What a call printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


@pytest.fixture
def vmapbench(capsys, monkeypatch):
    """Call it: vmapbench("list", "--json") -> Said."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["vmapbench", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            command_line.main()
        said = capsys.readouterr()
        return Said(int(stopped.value.code or 0), said.out, said.err)

    return call
