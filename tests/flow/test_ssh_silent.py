"""Hosts that accept a connection and then send nothing, in each phase: errors within the limits."""

import contextlib
import socket
import subprocess
import sys
import threading
import time

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_SUCCESS

from harness.spec.host import load_host_file
from harness.targets.ssh import connection, transport, trust
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.transport import HostShell

BANNER = b"SSH-2.0-Silent_1.0\r\n"


@contextlib.contextmanager
def listening(serve):
    """A port whose connections are each given to `serve`, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])
                    threading.Thread(target=serve, args=(taken[-1],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in taken:
            connection.close()


def dribble(connection):
    """Say a character of a line without end now and then."""
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)


SILENCES = {
    "nothing": (lambda _: None, 1, 60, "reading SSH protocol banner"),
    "a line without end": (dribble, 60, 1, "no login within 1 s"),
    "a banner": (lambda connection: connection.sendall(BANNER), 60, 1, "no login within 1 s"),
}


def host_file(folder, server, port):
    server.trust(folder / "known")
    known = (folder / "known").read_text().replace(str(server.port), str(port))
    (folder / "known").write_text(known)
    text = server.host_text(known_hosts="known").replace(f"port: {server.port}", f"port: {port}")
    (folder / "box.yaml").write_text(text)
    return load_host_file(folder / "box.yaml")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("said", SILENCES)
def test_a_host_that_says_no_more_than_this(server, tmp_path, said):
    serve, connect_s, login_s, words = SILENCES[said]
    with listening(serve) as port:
        spec = host_file(tmp_path, server, port)
        with pytest.raises(ConnectionLostError, match=f"connecting to host box .*{words}"):
            HostShell(spec, connect_s, login_s)


class Deaf(paramiko.Transport):
    """A server that lets everybody in, answers keepalives, and never says that a program runs."""

    def _send_message(self, data):
        if not data.asbytes().startswith(cMSG_CHANNEL_SUCCESS):
            super()._send_message(data)


class LetsIn(paramiko.ServerInterface):
    """What it allows: everything that we ask for."""

    def check_auth_publickey(self, *_):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, *_):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, *_):
        return True


@pytest.mark.timeout(60)
def test_a_host_that_starts_no_program(server, tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "ALIVE_EVERY_S", 0.1)

    def serve(connection):
        host = Deaf(connection)
        host.add_server_key(paramiko.Ed25519Key(filename=str(server.folder / "host_key")))
        host.start_server(server=LetsIn())

    with (
        listening(serve) as port,
        contextlib.closing(HostShell(host_file(tmp_path, server, port))) as shell,
    ):
        monkeypatch.setattr(transport, "LOGIN_S", 1.0)
        for work in (
            lambda: shell.run(["true"]),
            lambda: shell.follow(["true"], print),
            lambda: shell.get("/x"),
            lambda: shell.put(b"x", "/x"),
        ):
            with pytest.raises(ConnectionLostError, match="the program did not start within 1 s"):
                work()


@pytest.fixture
def spec(server, tmp_path):
    return host_file(tmp_path, server, server.port)


@pytest.mark.timeout(60)
def test_a_host_that_takes_no_file(shell, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "COPY_S", 1.0)
    with pytest.raises(ConnectionLostError, match=r"timeout after 1 s"):
        shell.put(bytes(8 << 20), str(fifo(tmp_path)))
    assert shell.run(["echo", "fine"]).stdout == "fine\n"


def fifo(folder):
    """A pipe without a reader."""
    subprocess.run(["mkfifo", folder / "file.part"], check=True)
    return folder / "file"


@pytest.mark.timeout(60)
def test_the_key_of_a_silent_host_is_not_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "LOGIN_S", 1.0)
    with listening(lambda connection: connection.sendall(BANNER)) as port:
        spec = host_file(tmp_path, server, port)
        with pytest.raises(ConnectionLostError, match=r"asking for the key of host box"):
            trust.next_unknown(spec)


@pytest.mark.timeout(120)
def test_the_command_line_says_so_within_its_own_limits(server, tmp_path, start):
    hosts = tmp_path / "playbooks/hosts"
    hosts.mkdir(parents=True)
    argv = [sys.executable, "-m", "harness.cli.main", "host"]
    with listening(lambda _: None) as port:
        host_file(hosts, server, port)
        verbs = ("check", "trust", "unlock")
        running = [
            start([*argv, verb, "box"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            for verb in verbs
        ]
        said = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [3] * len(verbs)
    for words in said:
        assert "host box (127.0.0.1): Error reading SSH protocol banner" in words
        assert "Traceback" not in words
