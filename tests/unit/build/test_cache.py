"""Attempts at what the cache keeps: whole, or nothing of them stays."""

import signal
import sys

import pytest

from harness.build.cache import Cache


@pytest.fixture
def cache(tmp_path):
    """Return a cache whose lock `key` is held."""
    cache = Cache(tmp_path)
    with cache.lock("key", lambda: None):
        yield cache


@pytest.fixture
def at_first():
    """Return a dict; what it has under the name of an audit event is called once, just before."""
    calls = {}
    sys.addaudithook(lambda event, _: calls.pop(event)() if event in calls else None)
    yield calls
    calls.clear()


def test_a_second_interrupt_does_not_stop_the_removal(cache, at_first):
    with pytest.raises(KeyboardInterrupt), cache.attempt("kernels", "key") as folder:
        (folder / "vmlinux").touch()
        at_first["shutil.rmtree"] = lambda: signal.raise_signal(signal.SIGINT)
        raise KeyboardInterrupt
    assert not at_first
    assert not folder.exists()


def test_what_a_dying_compiler_still_writes_is_removed_too(cache, at_first):
    with pytest.raises(KeyboardInterrupt), cache.attempt("kernels", "key") as folder:
        (folder / "tree").mkdir()
        at_first["os.rmdir"] = (folder / "tree/vmlinux.o").touch
        raise KeyboardInterrupt
    assert not at_first
    assert not folder.exists()


def test_an_attempt_whose_lock_nobody_holds_is_refused(tmp_path):
    """A process that builds something else would remove the folder."""
    with pytest.raises(RuntimeError, match="lock of key"), Cache(tmp_path).attempt("disk", "key"):
        pass


def test_an_attempt_at_work_is_not_taken_for_a_dead_one(cache):
    with cache.attempt("disk", "key") as folder:
        cache.remove_dead_attempts()
        assert folder.exists()
