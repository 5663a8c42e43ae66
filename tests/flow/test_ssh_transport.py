import contextlib
import getpass
import hashlib
import os
import threading
import time

import pytest

from harness.errors import InputError, ToolError
from harness.spec.host import load_host_file
from harness.targets.ssh import connection
from harness.targets.ssh.connection import ConnectionLostError, HostKeyError
from harness.targets.ssh.transport import HostShell
from tests.flow.loopback import LoopbackServer


@pytest.fixture
def spec(server, tmp_path):
    server.trust(tmp_path / "known")
    (tmp_path / "box.yaml").write_text(server.host_text(known_hosts="known"))
    return load_host_file(tmp_path / "box.yaml")


def test_words_arrive_as_they_are(shell):
    words = ["a b", "$HOME", "'", '"; rm x', "*", "\\", ""]
    assert shell.run(["printf", "%s\\n", *words]).stdout == "\n".join(words) + "\n"


def test_status_and_both_streams(shell):
    done = shell.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    with pytest.raises(ToolError, match="exited with 7: err"):
        shell.run(["sh", "-c", "echo err >&2; exit 7"], check=True)


def test_more_input_and_output_than_any_window(shell):
    data = os.urandom(5 << 20)
    done = shell.run(["sh", "-c", "tee /dev/stderr | sha256sum"], stdin=data)
    assert done.stdout.split()[0] == hashlib.sha256(data).hexdigest()
    assert len(done.stderr) > 1 << 20


def test_deadline(shell):
    with pytest.raises(ConnectionLostError, match=r"sleep 60.*timeout after"):
        shell.run(["sleep", "60"], timeout_s=0.2)
    assert shell.run(["true"]).returncode == 0


def test_files_arrive_whole_with_their_mode(shell, tmp_path):
    data = os.urandom(3 << 20)
    shell.put(data, str(tmp_path / "odd 'name"), 0o600)
    assert (tmp_path / "odd 'name").read_bytes() == data
    assert (tmp_path / "odd 'name").stat().st_mode & 0o777 == 0o600
    assert shell.get(str(tmp_path / "odd 'name")) == data
    with pytest.raises(ToolError, match="No such file"):
        shell.get(str(tmp_path / "nothing"))


def test_lines_are_followed(shell, tmp_path):
    lines, enough = [], threading.Event()

    def on_line(line):
        lines.append(line)
        if line == "two":
            enough.set()

    following = shell.follow(["sh", "-c", "echo one; echo two; sleep 60"], on_line)
    assert enough.wait()
    assert lines == ["one", "two"]
    assert not following.ended()
    following.close()
    assert following.ended()


def test_connection_cut_in_the_middle(server, shell):
    following = shell.follow(["sh", "-c", "echo $$; sleep 60"], lambda _: None)
    timer = threading.Timer(0.3, server.cut)
    timer.start()
    with pytest.raises(ConnectionLostError, match="host box"):
        shell.run(["sleep", "60"])
    timer.join()
    following.close()
    with pytest.raises(ConnectionLostError):
        shell.run(["true"])


def test_connection_that_goes_dead(server, spec, monkeypatch):
    monkeypatch.setattr(connection, "ALIVE_EVERY_S", 0.1)
    monkeypatch.setattr(connection, "DEAD_AFTER_S", 1.0)
    with contextlib.closing(HostShell(spec)) as shell:
        following = shell.follow(["sleep", "60"], lambda _: None)
        time.sleep(2)  # longer than the limit: a line that answers stays
        assert shell.run(["echo", "here"]).stdout == "here\n"
        assert not following.ended()
        server.freeze()
        with pytest.raises(ConnectionLostError, match="host box"):
            shell.run(["true"], timeout_s=30)
        assert following.ended()


def test_unknown_key_is_refused(server, spec, tmp_path):
    (tmp_path / "known").unlink()
    with pytest.raises(HostKeyError, match="vmapbench host trust box"):
        HostShell(spec)


def test_changed_key_is_refused(server, spec, tmp_path):
    other = LoopbackServer(tmp_path / "other")
    other.stop()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other.host_key}")
    with pytest.raises(HostKeyError, match=r"man-in-the-middle attack.*--replace"):
        HostShell(spec)


def test_key_that_is_not_let_in(server, tmp_path):
    server.trust(tmp_path / "known")
    other = LoopbackServer(tmp_path / "other")
    other.stop()
    text = server.host_text(known_hosts="known").replace(str(server.user_key), str(other.user_key))
    (tmp_path / "box.yaml").write_text(text)
    with pytest.raises(InputError, match="ssh agent"):
        HostShell(load_host_file(tmp_path / "box.yaml"))


def slow_server(folder, answer_s, *options):
    """A real sshd that looks for the account's keys for `answer_s` seconds."""
    look = f"sleep {answer_s}; cat {folder}/slow/keys"
    slow = LoopbackServer(
        folder / "slow",
        f'AuthorizedKeysCommand /bin/sh -c "{look}"',
        f"AuthorizedKeysCommandUser {getpass.getuser()}",
        *options,
    )
    (slow.folder / "authorized_keys").rename(slow.folder / "keys")
    slow.trust(folder / "known")
    (folder / "box.yaml").write_text(slow.host_text(known_hosts="known"))
    return slow, load_host_file(folder / "box.yaml")


def test_a_host_that_is_slow_to_let_in_is_waited_for(tmp_path):
    slow, spec = slow_server(tmp_path, 3)
    try:
        shell = HostShell(spec, connect_s=1.5)
        assert shell.run(["echo", "in"]).stdout == "in\n"
        shell.close()
    finally:
        slow.stop()


@pytest.mark.parametrize(
    ("login_s", "grace_s", "words"),
    [(1, 60, "no login within 1 s"), (60, 1, "during the login")],
)
def test_a_login_without_an_answer_is_no_refused_one(tmp_path, login_s, grace_s, words):
    slow, spec = slow_server(tmp_path, 60, f"LoginGraceTime {grace_s}")
    try:
        with pytest.raises(ConnectionLostError, match=words):
            HostShell(spec, login_s=login_s)
    finally:
        slow.stop()


def test_nobody_answers(tmp_path):
    dead = LoopbackServer(tmp_path / "dead")
    dead.trust(tmp_path / "known")
    (tmp_path / "box.yaml").write_text(dead.host_text(known_hosts="known"))
    dead.stop()
    with pytest.raises(ConnectionLostError, match="host check box"):
        HostShell(load_host_file(tmp_path / "box.yaml"), connect_s=3)


def test_through_two_jumps(server, tmp_path):
    server.trust(tmp_path / "known")
    hop = f"{{address: 127.0.0.1, port: {server.port}}}"
    jump = f"[{hop}, {hop}]"
    (tmp_path / "box.yaml").write_text(server.host_text(known_hosts="known", jump=jump))
    shell = HostShell(load_host_file(tmp_path / "box.yaml"))
    assert shell.run(["echo", "through"]).stdout == "through\n"
    shell.close()
