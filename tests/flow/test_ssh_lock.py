import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.errors import InputError, ToolError
from harness.spec.host import load_host_file
from harness.targets.ssh.lock import HostLock, break_lock, is_gone, read_lock, this_process
from harness.targets.ssh.transport import HostShell


@pytest.fixture
def spec(server, tmp_path):
    server.trust(tmp_path / "known")
    text = server.host_text(known_hosts="known")
    text = text.replace(f"{server.folder}/state", f"{tmp_path}/state")
    (tmp_path / "box.yaml").write_text(text)
    (tmp_path / "state").mkdir()
    return load_host_file(tmp_path / "box.yaml")


def untold(words):
    raise AssertionError(f"told {words}")


def test_taken_once_and_given_back(shell, spec):
    ours, theirs = (HostLock(spec.state, this_process(f"run {n}")) for n in (1, 2))
    ours.acquire(shell, 600, untold)
    with pytest.raises(InputError, match=r"held by .* for run 1; [^$]*unlock box --break"):
        theirs.acquire(shell, 600, untold)
    theirs.release(shell)  # no harm
    assert read_lock(shell, spec.state).holder == ours.holder
    ours.renew(shell, 700)
    assert read_lock(shell, spec.state).lease_s == 700
    ours.release(shell)
    assert read_lock(shell, spec.state) is None
    theirs.acquire(shell, 600, untold)


def test_an_expired_one_is_explained_and_broken_only_on_request(shell, spec):
    theirs = replace(this_process("a run"), machine="elsewhere", pid=1)
    HostLock(spec.state, theirs).acquire(shell, 60, untold)
    past = time.time() - 3600
    os.utime(f"{spec.state}/lock", (past, past))
    held = read_lock(shell, spec.state)
    assert held.expired
    ours = HostLock(spec.state, this_process("mine"))
    with pytest.raises(InputError, match=r"expired 35\d\d s ago.*\n.*its lease has expired"):
        ours.acquire(shell, 600, untold)
    break_lock(shell, spec.state)
    ours.acquire(shell, 600, untold)
    with pytest.raises(InputError, match="removed by someone else"):
        HostLock(spec.state, theirs).renew(shell, 60)


HOLD = """
import sys, time
from pathlib import Path
from harness.spec.host import load_host_file
from harness.targets.ssh.lock import HostLock, this_process
from harness.targets.ssh.transport import HostShell
spec = load_host_file(Path(sys.argv[1]))
HostLock(spec.state, this_process("a run")).acquire(HostShell(spec), 600, print)
print("held", flush=True)
time.sleep(600)
"""


def test_a_harness_killed_with_9_is_succeeded_here(shell, spec, tmp_path, start):
    child = start(
        [sys.executable, "-c", HOLD, str(tmp_path / "box.yaml")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    ours = HostLock(spec.state, this_process("the next"))
    with pytest.raises(InputError, match=f"process {child.pid}"):
        ours.acquire(shell, 600, untold)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    told = []
    ours.acquire(shell, 600, told.append)
    assert f"process {child.pid}" in told[0]
    assert read_lock(shell, spec.state).holder == ours.holder


def test_a_process_id_that_is_used_again_does_not_keep_the_lock(shell, spec):
    before = replace(this_process("a run"), started=1)
    assert is_gone(before)
    assert is_gone(replace(this_process("a run"), boot_id="another"))
    assert not is_gone(replace(before, machine="elsewhere"))


def test_of_many_at_once_one_wins(spec):
    won, lost, start = [], [], threading.Barrier(8)

    def contend(number):
        shell = HostShell(spec)
        start.wait()
        try:
            HostLock(spec.state, this_process(f"run {number}")).acquire(shell, 600, untold)
            won.append(number)
        except InputError:
            lost.append(number)
        shell.close()

    threads = [threading.Thread(target=contend, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '"x"'])
def test_a_damaged_lock_says_how_to_get_rid_of_it(shell, spec, content):
    Path(spec.state, "lock").write_text(content)
    with pytest.raises(ToolError, match="unlock box --break"):
        HostLock(spec.state, this_process("a run")).acquire(shell, 600, untold)
    break_lock(shell, spec.state)
    assert read_lock(shell, spec.state) is None


def test_no_folder(shell, spec):
    Path(spec.state).rmdir()
    with pytest.raises(ToolError, match="next: chown "):
        HostLock(spec.state, this_process("a run")).acquire(shell, 600, untold)


def test_the_lock_is_whole_json(shell, spec):
    lock = HostLock(spec.state, this_process("a 'run' with\nodd \"words\""))
    lock.acquire(shell, 600, untold)
    written = json.loads(Path(spec.state, "lock").read_text())
    assert written == {**asdict(lock.holder), "lease_s": 600}
    lock.renew(shell, 60)
    lock.release(shell)
