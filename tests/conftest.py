"""Closes tests off from the user's home, settings and network, and offers what they share."""

import contextlib
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness.process import SubprocessRunner
from tests.cpu_time import (  # noqa: F401  hooks
    pytest_runtest_logstart,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from tests.fair_clock import (  # noqa: F401  hooks
    pytest_timeout_cancel_timer,
    pytest_timeout_set_timer,
)

# What a shell starts in the background ignores Ctrl-C, and so does what that starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is timed: a busy machine is not a defect.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def closed_off(request, tmp_path_factory, monkeypatch):
    """No test sees or changes the user's files; only marked ones share the built kernels."""
    for name in ("VMAPBENCH_STORE", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    if request.node.get_closest_marker("e2e") is None:
        home = tmp_path_factory.mktemp("home")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        monkeypatch.setenv("VMAPBENCH_CACHE", str(home / "cache" / "vmapbench"))
        monkeypatch.setattr(socket.socket, "connect", _local_only(socket.socket.connect))


def _local_only(connect):
    def guarded(self, address):
        local = isinstance(address, (str, bytes)) or address[0] in ("127.0.0.1", "::1", "localhost")
        assert local, f"a test tried to reach {address}"
        return connect(self, address)

    return guarded


@pytest.fixture
def runner():
    """Runs real programs."""
    return SubprocessRunner()


@pytest.fixture
def start():
    """Starts a program like `subprocess.Popen`.

    Whatever still runs when the test ends, however it ends, is killed and waited for: a child left
    behind would fail another test, the one in which it is collected as garbage.
    """
    with contextlib.ExitStack() as started:

        def start_program(argv, **options):
            process = started.enter_context(subprocess.Popen(argv, **options))
            started.callback(process.kill)
            return process

        yield start_program


@pytest.fixture
def repository():
    """The root of the checkout."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def module_bytes():
    """An ELF file with the .modinfo of Linux 6.12's test_vmalloc.ko, and nothing else."""
    return (Path(__file__).parent / "data" / "test_vmalloc-6.12-modinfo.o").read_bytes()
