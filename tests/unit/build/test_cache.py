"""Attempts at what the cache keeps: whole, or nothing of them stays."""

import signal
import sys

import pytest

from harness.build.cache import Cache


@pytest.fixture
def at_first():
    """Return a dict; what it has under the name of an audit event is called once, just before."""
    calls = {}
    sys.addaudithook(lambda event, _: calls.pop(event)() if event in calls else None)
    yield calls
    calls.clear()


def test_a_second_interrupt_does_not_stop_the_removal(tmp_path, at_first):
    with pytest.raises(KeyboardInterrupt), Cache(tmp_path).attempt("kernels", "key") as folder:
        (folder / "vmlinux").touch()
        at_first["shutil.rmtree"] = lambda: signal.raise_signal(signal.SIGINT)
        raise KeyboardInterrupt
    assert not at_first
    assert not folder.exists()


def test_what_a_dying_compiler_still_writes_is_removed_too(tmp_path, at_first):
    with pytest.raises(KeyboardInterrupt), Cache(tmp_path).attempt("kernels", "key") as folder:
        (folder / "tree").mkdir()
        at_first["os.rmdir"] = (folder / "tree/vmlinux.o").touch
        raise KeyboardInterrupt
    assert not at_first
    assert not folder.exists()
