"""SIGTERM and SIGHUP end a command as Ctrl-C does, in any phase; SIGKILL leaves no files behind."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flow.build.conftest import cache, kernels  # noqa: F401  a toy kernel and its cache
from tests.synthetic_runs import RUN, write_synthetic_run

VMAPBENCH = [sys.executable, "-m", "harness.cli.main"]
PLAYBOOK = """\
version: 1
kernels: [toy]
baseline: toy
target: {kind: qemu, cpus: 1, accelerator: tcg}
workloads:
  - {name: small, parameters: {nr_threads: 1, run_test_mask: 1}, expected_s: 20}
"""


@pytest.fixture
def slow_build(kernels, cache, tmp_path, start):  # noqa: F811
    """Start a command that builds a toy kernel whose compiler takes a minute a file."""
    (kernels / "toy.yaml").write_text(
        "version: 1\nsource: {tarball: toy.tar.xz}\nfragments: [base.config]\n"
    )
    (tmp_path / "toy.yaml").write_text(PLAYBOOK)
    places = ["--kernels", str(kernels)]

    def begin(*words, **options):
        environment = {**os.environ, "VMAPBENCH_CACHE": str(cache.folder), "TOY_SLEEP": "60"}
        process = start([*VMAPBENCH, *words, *places], env=environment, cwd=tmp_path, **options)
        wait_for(lambda: list(cache.folder.glob("building/*/build.log")))
        log = next(cache.folder.glob("building/*/build.log"))
        wait_for(lambda: b"  CC  " in log.read_bytes())
        return process

    return begin


def wait_for(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_interrupted(process):
    """Wait for the end of a command whose standard error is a pipe, and look how it ended."""
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, said
    assert said.endswith("\ninterrupted\n")
    assert "Traceback" not in said


def leftovers(cache):  # noqa: F811
    """What a command left running or lying around: its build folder, programs working in it."""
    running = []
    for process in os.listdir("/proc"):  # noqa: PTH208
        try:
            with open(f"/proc/{process}/cmdline", "rb") as stream:  # noqa: PTH123
                running += [process] if str(cache.folder).encode() in stream.read() else []
        except OSError:
            continue
    return [*cache.folder.glob("building/*"), *running]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("words", [("build", "toy"), ("run", "toy.yaml")], ids=["build", "run"])
def test_a_signal_ends_the_build_and_cleans_up(slow_build, cache, number, words):  # noqa: F811
    process = slow_build(*words, stderr=subprocess.PIPE)
    process.send_signal(number)
    assert_interrupted(process)
    wait_for(lambda: not leftovers(cache))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_for_another_build(slow_build, cache, tmp_path, number):  # noqa: F811
    builder = slow_build("build", "toy", stderr=subprocess.PIPE)
    with (tmp_path / "said").open("wb") as said:
        waiting = slow_build("build", "toy", stderr=said)
    wait_for(lambda: b"waiting for another process" in (tmp_path / "said").read_bytes())
    waiting.send_signal(number)
    assert waiting.wait(120) == 130
    assert (tmp_path / "said").read_bytes().endswith(b"\ninterrupted\n")
    assert builder.poll() is None
    assert list(cache.folder.glob("building/*/build.log"))
    builder.send_signal(number)
    assert_interrupted(builder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_the_page_is_drawn_leaves_the_page_before(start, tmp_path, number):
    write_synthetic_run(tmp_path, thread_counts=(1, 2, 4)).close()
    folder = tmp_path / RUN
    (folder / "index.html").write_text("the page before")
    argv = [*VMAPBENCH, "report", "latest", "--reports", str(tmp_path)]
    process = start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for((folder / "samples.csv").exists)  # written before the page, which takes seconds
    process.send_signal(number)
    assert_interrupted(process)
    assert (folder / "index.html").read_text() == "the page before"
    assert {path.name for path in folder.iterdir()} <= {
        "index.html", "logs", "results.json", "samples.csv", "prediction.json"
    }  # fmt: skip


def test_a_terminal_that_goes_away_ends_the_build(slow_build, cache):  # noqa: F811
    ours, theirs = pty.openpty()
    process = slow_build("build", "toy", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)  # of the kernel and of the shell
    assert process.wait(120) == 130
    wait_for(lambda: not leftovers(cache))


def test_a_command_that_waits_for_input_ends_too(start):
    process = start(
        [*VMAPBENCH, "parse", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    status = f"/proc/{process.pid}/status"
    caught = 1 << (signal.SIGTERM - 1)

    def catches():
        with open(status) as stream:  # noqa: PTH123
            fields = dict(line.split(":", 1) for line in stream)
        return int(fields["SigCgt"], 16) & caught

    wait_for(catches)
    process.terminate()
    assert b"interrupted" in process.communicate(timeout=60)[1]
    assert process.returncode == 130


CANCEL = """\
import asyncio
from harness.signals import termination_interrupts

async def main():
    other = asyncio.create_task(asyncio.sleep(600))
    await asyncio.sleep(0)
    try:
        print("waits", flush=True)
        await asyncio.sleep(600)
    finally:
        print("other cancelled" if other.cancelling() else "orderly")

with termination_interrupts():
    asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_event_loop_ends_its_main_task_first(start, number):
    """Else QEMU's monitor is left at once by all of its tasks, which prints tracebacks."""
    process = start(
        [sys.executable, "-c", CANCEL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waits\n"
    wait_for(lambda: " S " in Path(f"/proc/{process.pid}/stat").read_text())
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert said == "orderly\n"
    assert errors.endswith("\nKeyboardInterrupt\n")


def test_what_nohup_started_goes_on(start):
    code = (
        "import os, signal; from harness.signals import termination_interrupts as on\n"
        "with on(): os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    )
    process = start(["nohup", sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.communicate(timeout=60)[0] == b"goes on\n"


HOLD = """\
import sys, time
from pathlib import Path
from harness.scratch import scratch_folder
with scratch_folder("guest", Path(sys.argv[1])) as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_the_temporary_folder_of_a_killed_run_goes_with_the_next(start, tmp_path):
    def hold(seconds):
        argv = [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)]
        process = start(argv, stdout=subprocess.PIPE, text=True)
        return process, process.stdout.readline().strip()

    killed, litter = hold(300)
    living, kept = hold(300)
    killed.kill()
    killed.wait()
    assert os.path.exists(f"{litter}/file")  # noqa: PTH110
    ended, own = hold(0)
    ended.wait()
    folders = {str(path) for path in tmp_path.glob("vmapbench-*/guest-*")}
    assert folders == {kept}
    living.terminate()
    assert own not in folders


def test_a_temporary_folder_of_someone_else_is_refused(tmp_path):
    from harness.errors import InfrastructureError
    from harness.scratch import scratch_folder

    (tmp_path / f"vmapbench-{os.geteuid()}").symlink_to("/")
    with pytest.raises(InfrastructureError, match="is not a folder of this user"):
        scratch_folder("guest", tmp_path).__enter__()
