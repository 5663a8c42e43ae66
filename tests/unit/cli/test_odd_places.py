"""Read-only verbs make nothing; what cannot be written is said, and costs nothing else."""

import os
import subprocess
import sys

import pytest

from harness.errors import InfrastructureError, InputError
from harness.report.write import write_results
from harness.run.session import Session
from tests.synthetic_runs import RUN, write_synthetic_run

_CLI = [sys.executable, "-m", "harness.cli.main"]


def run(*argv):
    return subprocess.run([*_CLI, *map(str, argv)], capture_output=True, check=False, text=True)


@pytest.fixture
def store(tmp_path):
    store = write_synthetic_run(tmp_path, thread_counts=(2,), repeats=2)
    yield store
    store.close()


def test_verbs_that_read_make_no_store(tmp_path):
    verbs = [["list"], ["show", "x"], ["export", "x"], ["compare", "a", "b"], ["report"]]
    for verb in [*verbs, ["serve", "--port", "0"]]:
        done = run(*verb, "--reports", tmp_path)
        assert done.returncode == 2, verb
        assert "no results in" in done.stderr
    with pytest.raises(InputError, match="no results in"):
        Session(tmp_path, tmp_path, observer=None).resume("latest")
    assert list(tmp_path.iterdir()) == []


def test_an_export_touches_only_its_file(tmp_path, store):
    precious, target = tmp_path / "precious", tmp_path / "run.csv"
    precious.write_text("mine")
    (tmp_path / "run.csv.part").symlink_to(precious)
    done = run("export", RUN, "-f", "csv", "-o", target, "--reports", tmp_path)
    assert done.returncode == 0, done.stderr
    assert target.read_text().startswith("run_id,")
    assert precious.read_text() == "mine"
    assert (tmp_path / "run.csv.part").is_symlink()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        done = run("export", RUN, "-f", "csv", "-o", pipe, "--reports", tmp_path)
        assert done.returncode == 0, done.stderr
        assert reader.communicate()[0] == target.read_text()
    assert pipe.is_fifo()


def test_latest_as_a_folder_stays_and_the_page_is_written(tmp_path, store):
    (tmp_path / "latest").mkdir()
    assert write_results(store, RUN, tmp_path).page.is_file()
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "latest").is_symlink()


def test_a_page_that_cannot_be_written_says_that_the_results_are_kept(tmp_path, store):
    other = tmp_path / "other"
    other.write_text("a file, where the folder should be")
    with pytest.raises(InfrastructureError, match=f"vmapbench report {RUN}"):
        write_results(store, RUN, other)


# Runs a program in a mount namespace of its own, where something is mounted on a folder.
_NAMESPACE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
folder = sys.argv[1].encode()
NEWNS, NEWUSER, RDONLY, REMOUNT, BIND, REC, PRIVATE = 1 << 17, 1 << 28, 1, 32, 4096, 16384, 1 << 18
def must(status):
    if status:
        sys.exit("no namespace: " + os.strerror(ctypes.get_errno()))
must(libc.unshare(NEWNS | (NEWUSER if os.getuid() else 0)))
must(libc.mount(None, b"/", None, REC | PRIVATE, None))
MOUNTS
os.execv(sys.argv[2], sys.argv[2:])
"""
_READ_ONLY = _NAMESPACE.replace(
    "MOUNTS",
    "must(libc.mount(folder, folder, None, BIND, None))\n"
    "must(libc.mount(None, folder, None, BIND | REMOUNT | RDONLY, None))",
)
_SMALL = _NAMESPACE.replace("MOUNTS", "must(libc.mount(b'none', folder, b'tmpfs', 0, b'size=64k'))")


def test_a_disk_that_fills_while_the_page_is_written(tmp_path, store):
    store.close()
    (tmp_path / RUN).mkdir(exist_ok=True)
    left = "import os,sys; print(os.listdir(sys.argv[1]))"
    both = f'"$@"; status=$?; {sys.executable} -c "{left}" {tmp_path / RUN}; exit $status'
    argv = [sys.executable, "-c", _SMALL, str(tmp_path / RUN), "/bin/sh", "-c", both, "sh"]
    done = subprocess.run(
        [*argv, *_CLI, "report", RUN, "--reports", str(tmp_path)],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    if "no namespace" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert f"vmapbench report {RUN}" in done.stderr, "what to do once there is room"
    assert "Traceback" not in done.stderr
    assert "index.html" not in done.stdout, "half a page"
    assert ".part" not in done.stdout


def test_a_store_on_a_read_only_file_system_is_read(tmp_path, store):
    store.close()
    for verb in (["list"], ["show", RUN], ["export", RUN, "-f", "csv"]):
        argv = [sys.executable, "-c", _READ_ONLY, str(tmp_path), *_CLI, *verb]
        done = subprocess.run(
            [*argv, "--reports", str(tmp_path)], capture_output=True, check=False, text=True
        )
        if "no namespace" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        assert "20260102-030405-" in done.stdout
    assert list(tmp_path.glob("vmapbench.db-*")) == []
