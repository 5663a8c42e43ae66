"""Unit tests are quick: they find a shell and git here, but no compiler, emulator or server.

Nor what only the packages of the group `test` in setup/packages.txt bring.
"""

import shutil

import pytest

_PROGRAMS = (
    "bash",
    "sh",
    "cat",
    "git",
    "head",
    "printf",
    "setpriv",
    "sleep",
    "mount",
    "umount",
)


@pytest.fixture(scope="session")
def few_programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bin")
    for name in _PROGRAMS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


@pytest.fixture(autouse=True)
def quick(few_programs, monkeypatch):
    monkeypatch.setenv("PATH", str(few_programs))
