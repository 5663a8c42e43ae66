"""Hosts with too much or invalid output, over a real sshd, cause clear messages."""

import json
import time
import tracemalloc

import pytest

from harness.cli.verbs import machine
from harness.errors import ToolError
from harness.spec.host import load_host_file
from harness.targets.ssh import kmsg, transport
from harness.targets.ssh.identity import read_running
from harness.targets.ssh.kmsg import KmsgLog
from harness.targets.ssh.lock import read_lock
from harness.targets.ssh.probe import count_cpus
from harness.targets.ssh.restore import wait_for
from harness.targets.ssh.shell import HostAnswerError
from harness.targets.ssh.transport import HostShell
from harness.targets.ssh.trial import parse_result

GOOD_LOCK = {
    **dict.fromkeys(("token", "user", "machine", "boot_id", "purpose"), "x"),
    "pid": 1,
    "started": 1,
    "lease_s": 60,
}


@pytest.fixture
def spec(server, tmp_path):
    server.trust(tmp_path / "known")
    (tmp_path / "box.yaml").write_text(server.host_text(known_hosts="known"))
    return load_host_file(tmp_path / "box.yaml")


@pytest.fixture
def state(server):
    folder = server.folder / "state"
    folder.mkdir(exist_ok=True)
    yield folder
    (folder / "lock").unlink(missing_ok=True)


FLOODS = {
    "stdout": ["cat", "/dev/zero"],
    "stderr": ["cat", *["/x"] * 40_000],  # each of which is missing
}


@pytest.mark.parametrize("stream", FLOODS)
def test_a_flood_is_cut_off(shell, monkeypatch, stream):
    monkeypatch.setattr(transport, "_MOST_BYTES", 1 << 20)
    with pytest.raises(HostAnswerError, match="cat on host box.*more than 1 MiB"):
        shell.run(FLOODS[stream])
    with pytest.raises(HostAnswerError, match="more than 1 MiB"):
        shell.get("/dev/zero")
    assert shell.run(["echo", "fine"]).stdout == "fine\n"


def test_a_line_without_end_takes_no_memory(shell):
    most = 16 << 20  # paramiko keeps up to 2 MiB that nobody has read, and a copy or two
    lines = []
    script = f"head -c {3 * most} /dev/zero; echo; echo short; sleep 600"
    tracemalloc.start()
    following = shell.follow(["sh", "-c", script], lines.append)
    try:
        while len(lines) < 2:
            assert tracemalloc.get_traced_memory()[1] < most
            time.sleep(0.05)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
        following.close()
    assert [len(line) for line in lines] == [transport._MOST_LINE, 5]


def test_a_log_without_end_fills_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(kmsg, "_MOST_BYTES", 10_000)
    log = KmsgLog(tmp_path / "console.log")
    for number in range(1000):
        log.take(f"6,{number},{number},-;" + "x" * 100)
    assert (tmp_path / "console.log").stat().st_size < 11_000
    assert (tmp_path / "console.log").read_text().endswith("MiB: the rest is left out\n")


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "null", "1e400", "{}", "[" * 100_000, '"\\ud800"'),
        json.dumps({**GOOD_LOCK, "lease_s": 0}).replace("0}", "1e400}"),
        json.dumps({**GOOD_LOCK, "lease_s": 10**30}),
        json.dumps({**GOOD_LOCK, "pid": "../../etc"}),
        json.dumps({**GOOD_LOCK, "user": "x" * 1_000_000}),
        json.dumps({**GOOD_LOCK, "more": 1}),
    ],
)
def test_an_odd_lock_is_said_to_be_none(shell, state, content):
    (state / "lock").write_text(content)
    with pytest.raises(ToolError, match=r"is not a valid lock.*\n.*unlock box --break") as caught:
        read_lock(shell, str(state))
    assert len(str(caught.value)) < 1000
    (state / "lock").write_text(json.dumps(GOOD_LOCK))
    assert read_lock(shell, str(state)).lease_s == 60


def test_a_noisy_start_up_file_is_named_at_once(server, spec):
    bashrc = server.folder / ".bashrc"
    bashrc.write_text("echo Welcome to the lab\n")
    try:
        began = time.monotonic()
        with pytest.raises(
            HostAnswerError, match="unexpected content.*Welcome to the lab.*\n.*print nothing"
        ):
            wait_for(lambda: HostShell(spec), lambda _: True, within_s=600)
        assert time.monotonic() - began < 300
    finally:
        bashrc.unlink()


class Said:
    """A host of which each program says the same."""

    name = "box"

    def __init__(self, text):
        self.text = text

    def run(self, argv, **_):
        from harness.targets.ssh.shell import RemoteResult

        return RemoteResult(tuple(argv), 0, self.text, "")


@pytest.mark.parametrize("text", ["", "abc", "9" * 5000, "nan 1 1", "-4.00 1", "0.00 1\n0.00 1"])
def test_an_odd_load(text):
    with pytest.raises(HostAnswerError, match="/proc/loadavg: unexpected"):
        machine._load_of(Said(text))
    assert machine._load_of(Said("0.25 0.10 0.05 1/123 4567\n")) == 0.25


@pytest.mark.parametrize("text", ["", "abc", "9" * 5000, "²", "-4", "0", "1e3", "4\n4"])
def test_odd_numbers_of_cpus(text):
    with pytest.raises(HostAnswerError, match="nproc printed"):
        count_cpus(Said(text))
    with pytest.raises(HostAnswerError, match="unexpected content"):
        read_running(Said(text))


@pytest.mark.parametrize(
    "text",
    [
        *("", "elapsed_ns= not found", "elapsed_ns=1" + "0" * 30 + " ", "elapsed_ns=5"),
        *("elapsed_ns=-1 x", "elapsed_ns=² x", "hello\nelapsed_ns=5 \n", "elapsed_ns=5 \x1b]0;"),
    ],
)
def test_odd_results_of_a_load(text):
    with pytest.raises(HostAnswerError, match="malformed result of the loader"):
        parse_result("box", text)
    assert parse_result("box", "elapsed_ns=5 Invalid parameters\n") == (5, "Invalid parameters")
