"""Locks between processes, real ones; and what a file system says that has none."""

import os
import platform
import subprocess
import sys

import pytest

from harness.errors import InputError
from harness.locks import exclusive_lock, free_locks, locked, shared_until_exit


def test_a_claim_names_the_process_that_has_it(tmp_path):
    path = tmp_path / "deep/lock"
    with exclusive_lock(path, "first"):
        assert path.read_text() == str(os.getpid())
        with pytest.raises(InputError, match=rf"^second \(process {os.getpid()}\)$"):
            exclusive_lock(path, "second").__enter__()
    with exclusive_lock(path, "third"):
        pass
    path.write_bytes(b"\xff\x1b]0;no process\x07")  # of whoever may write there
    with exclusive_lock(path, "fourth"), pytest.raises(InputError, match=r"\(process \d+\)"):
        exclusive_lock(path, "fifth").__enter__()


def test_several_locks_are_free_or_not(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    with free_locks(one, two) as free:
        assert free
        with free_locks(two) as again:
            assert not again
    descriptor = shared_until_exit(two)
    with free_locks(one, two) as free:
        assert not free
    os.close(descriptor)
    with free_locks() as free:
        assert free


def test_who_waits_says_so_once(tmp_path):
    said = []
    with locked(tmp_path / "lock", lambda: said.append("waits")):
        pass
    assert said == []


# Stands for a file system without locks (NFS without its lock daemon): a seccomp filter answers
# flock(2) with ENOLCK, then the program runs.
NO_LOCKS = """\
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 73), (0x06, 0, 0, 0x50000 | 37), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter knows x86-64's numbers")
def test_a_file_system_without_locks_is_named_with_a_way_out(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/k.yaml").write_text("version: 1\nsource: {tarball: none.tar}\n")
    (tmp_path / "kernels/none.tar").write_bytes(b"")
    argv = [sys.executable, "-c", NO_LOCKS, sys.executable, "-m", "harness.cli.main"]
    done = subprocess.run(
        [*argv, "build", "k", "--kernels", str(tmp_path / "kernels")],
        env={**os.environ, "VMAPBENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert f"vmapbench: locking {tmp_path}/cache/" in done.stderr
    assert "No locks available\n  next: that file system gives no locks (NFS?)" in done.stderr
