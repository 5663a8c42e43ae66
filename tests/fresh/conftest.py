"""Freshly installed Debian systems, made by mmdebstrap; everything here is marked long."""

import os
import shutil
from pathlib import Path

import pytest

from tests.fresh.system import FreshSystem, make_system

_MARKS = (
    pytest.mark.long,
    pytest.mark.timeout(7200),  # a test may install everything and build kernels
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and mount need root"),
)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for mark in _MARKS:
                item.add_marker(mark)


@pytest.fixture(scope="module", params=["bookworm", "trixie"], ids=["Debian-12", "Debian-13"])
def installed(request, tmp_path_factory):
    """A release as installed, which no test may change."""
    root = tmp_path_factory.mktemp(request.param) / "installed"
    make_system(root, request.param)
    yield root
    shutil.rmtree(root.parent)


@pytest.fixture
def system(installed):
    """A machine of one's own: a copy that goes with the test."""
    system = FreshSystem(installed.with_name("copy"))
    system.copy_from(installed)
    yield system
    shutil.rmtree(system.root)
