"""ssh connections: fabric makes them, paramiko's channels carry the programs.

Host keys are strict: an unknown or changed key is an error that names the remedy, never a question.
"""

import contextlib
import hashlib
import logging
import select
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fabric
import paramiko
import platformdirs

from harness.errors import InfrastructureError, InputError, ToolError
from harness.spec.host import HostSpec, Jump
from harness.targets.ssh.helper import root_argv
from harness.targets.ssh.shell import COPY_S, HostAnswerError, OnLine, RemoteResult

# What it logs with a traceback (a host that restarts) is raised as an error of ours as well.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_S = 15.0  # until a host accepts the connection and greets
LOGIN_S = 120.0  # until it has let us in: sshd's own LoginGraceTime
ALIVE_EVERY_S = 15.0
DEAD_AFTER_S = 60.0
_CHUNK = 1 << 16
_MOST_BYTES = 64 << 20  # that a program may say; the largest kernel log of a trial has 16 MiB
_MOST_LINE = 1 << 16  # of a line that is followed; the rest of it is dropped


class ConnectionLostError(InfrastructureError):
    """The host could not be reached, or went away while something ran on it."""


class _TooMuchError(Exception):
    """A program on the host says more than `_MOST_BYTES`."""


class HostKeyError(InputError):
    """The host's key is unknown, or not the one that was trusted."""


def known_hosts_file(spec: HostSpec) -> Path:
    """Return the file that holds the keys that this host may show."""
    if spec.known_hosts == "own":
        return platformdirs.user_config_path("vmapbench") / "known_hosts"
    if spec.known_hosts == "user":
        return Path.home() / ".ssh" / "known_hosts"
    return spec.folder / Path(spec.known_hosts).expanduser()


class _Transport(paramiko.Transport):
    """Exchanges keys without paramiko's 15 s for it: a host that has greeted is not dead."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.handshake_timeout = LOGIN_S

    def start_client(
        self, event: threading.Event | None = None, timeout: float | None = None
    ) -> None:
        """Exchange keys; `timeout`, which is the one for connecting, ends it only before that."""
        super().start_client(event, timeout and LOGIN_S)

    def close(self) -> None:
        """Close, and end the timer of a handshake that was not completed."""
        super().close()
        self.packetizer.complete_handshake()


def open_connection(
    spec: HostSpec, connect_s: float = CONNECT_S, login_s: float = LOGIN_S
) -> fabric.Connection:
    """Return a connection through all jump hosts, authenticated, every key checked.

    `connect_s`: the most until each of them greets; `login_s`: the most until all let us in.
    Raises HostKeyError and InputError (exit code 2) and ConnectionLostError (3).
    """
    connection = plan_connection(spec, connect_s)
    with explained(spec, "connecting"), _limited(connection, login_s):
        connection.open()
    threading.Thread(target=_watch_line, args=(connection.transport,), daemon=True).start()
    return connection


@contextlib.contextmanager
def _within(limit_s: float, end: Callable[[], None], reason: str) -> Iterator[None]:
    """Do `end`, by which the block fails, after `limit_s`. Raises TimeoutError(reason) then."""
    late = threading.Event()

    def expire() -> None:
        late.set()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # it has just ended
            end()

    timer = threading.Timer(limit_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if late.is_set():
            raise TimeoutError(reason) from error
        raise
    finally:
        timer.cancel()


@contextlib.contextmanager
def _limited(connection: fabric.Connection, login_s: float) -> Iterator[None]:
    """Close what is being opened after `login_s`, or where it fails.

    A login that was cut or not answered comes from paramiko as a refused one: only a host that
    still holds the line has refused it.
    """
    late = f"it let nobody in for {login_s:.0f} s"
    with _within(login_s, lambda: _close(connection), late):
        try:
            yield
        except BaseException as error:
            cut = isinstance(error, paramiko.AuthenticationException) and any(
                transport and not transport.is_active() for transport in _transports(connection)
            )
            _close(connection)
            if cut:
                raise EOFError("it closed the connection during the login") from error
            raise


def _transports(connection: fabric.Connection) -> list[paramiko.Transport | None]:
    """Return the transport of each hop, also of one that is not logged in yet."""
    return [hop.client.get_transport() for hop in hops_of(connection)]


def _close(connection: fabric.Connection) -> None:
    for transport, hop in zip(
        reversed(_transports(connection)), reversed(hops_of(connection)), strict=True
    ):
        with contextlib.suppress(Exception):  # the host may be gone in the middle of anything
            if transport:
                transport.close()
            hop.close()


def _watch_line(transport: paramiko.Transport) -> None:
    """Ask the host for an answer every now and then; where none comes, end the connection.

    It is ssh's ServerAliveInterval. TCP would take a quarter of an hour to find a pulled cable,
    and behind a jump host or a NAT never find it: they acknowledge whatever is sent.
    """
    while transport.is_active():
        limit = threading.Timer(DEAD_AFTER_S, transport.close)
        limit.daemon = True
        limit.start()
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            transport.global_request("keepalive@openssh.com")
        limit.cancel()
        transport.join(ALIVE_EVERY_S)


def plan_connection(spec: HostSpec, connect_s: float = CONNECT_S) -> fabric.Connection:
    """Return the connection to be opened; `.gateway` is the one to the last jump host, and so on.

    ~/.ssh/config is honoured by fabric: `.host` and `.port` are what it makes of the address.
    """
    kwargs: dict[str, Any] = {
        "banner_timeout": connect_s,
        "auth_timeout": 2 * LOGIN_S,  # `_limited` comes first
        "transport_factory": _Transport,
    }
    if spec.identity:
        kwargs["key_filename"] = str(spec.folder / Path(spec.identity).expanduser())
    connection = None
    hops: tuple[Jump | HostSpec, ...] = (*spec.jump, spec)
    for hop in hops:
        connection = fabric.Connection(
            hop.address,
            user=hop.user,
            port=hop.port,
            gateway=connection,
            connect_timeout=connect_s,
            connect_kwargs=dict(kwargs),
        )
    for hop_connection in hops_of(connection):
        _make_strict(hop_connection, known_hosts_file(spec))
    return connection


def hops_of(connection: fabric.Connection) -> list[fabric.Connection]:
    """Return the connections on the way, the nearest first and `connection` last.

    Those that ~/.ssh/config asks for (ProxyJump) are among them; a ProxyCommand is a program.
    """
    hops: list[fabric.Connection] = []
    while isinstance(connection, fabric.Connection):
        hops.insert(0, connection)
        connection = connection.gateway
    return hops


def _make_strict(connection: fabric.Connection, known_hosts: Path) -> None:
    """Make `connection` refuse whatever key is not in the file."""
    if known_hosts.is_file():
        connection.client.load_host_keys(str(known_hosts))
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())


@contextlib.contextmanager
def explained(spec: HostSpec, doing: str) -> Iterator[None]:
    """Turn what paramiko, invoke and the socket raise into errors that say what to do."""
    where = f"host {spec.name} ({spec.address})"
    try:
        yield
    except _TooMuchError as error:
        raise HostAnswerError(
            f"{doing} {where}: more than {_MOST_BYTES >> 20} MiB of output; it was ended"
        ) from error
    except paramiko.BadHostKeyException as error:
        raise HostKeyError(
            f"{doing} {where}: it shows the key {fingerprint(error.key)}, but "
            f"{known_hosts_file(spec)} has {fingerprint(error.expected_key)}\n  Somebody may be "
            "in between. If the host was reinstalled: "
            f"vmapbench host trust {spec.name} --replace"
        ) from error
    except paramiko.AuthenticationException as error:
        raise InputError(
            f"{doing} {where}: it refuses {spec.user or 'this user'} ({error})\n  load the key "
            "into the ssh agent, or name it as `identity`"
        ) from error
    except paramiko.SSHException as error:
        if "not found in known_hosts" in str(error):
            raise HostKeyError(
                f"{doing} {where}: its key is not in {known_hosts_file(spec)}\n  compare the "
                f"fingerprint and accept it once: vmapbench host trust {spec.name}"
            ) from error
        raise ConnectionLostError(f"{doing} {where}: {error}") from error
    except (OSError, EOFError) as error:
        text = str(error) or type(error).__name__
        raise ConnectionLostError(
            f"{doing} {where}: {text}; vmapbench host check {spec.name}"
        ) from error


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key as `ssh-keygen -l` writes it: ED25519 SHA256:..."""
    return f"{key.get_name().removeprefix('ssh-').upper()} {key.fingerprint}"


class HostShell:
    """Programs and files on one host; see `Shell`. Reconnecting is a new object."""

    def __init__(self, spec: HostSpec, connect_s: float = CONNECT_S, login_s: float = LOGIN_S):
        """Connect. Raises HostKeyError, InputError or ConnectionLostError."""
        self._spec, self.name = spec, spec.name
        self._connection = open_connection(spec, connect_s, login_s)

    def run(
        self,
        argv: Sequence[str],
        *,
        root: bool = False,
        stdin: bytes | None = None,
        timeout_s: float = 60.0,
        check: bool = False,
    ) -> RemoteResult:
        """Run `argv` to its end. Past `timeout_s`, or when the host goes: ConnectionLostError."""
        with explained(self._spec, f"running {argv[0]} on"), self._channel(argv, root) as channel:
            out, err = _drain(channel, stdin, time.monotonic() + timeout_s)
            status = channel.recv_exit_status()
        if out is None:
            raise ConnectionLostError(
                f"running {shlex.join(argv)} on host {self.name}: no end after {timeout_s:.0f} s"
            )
        if status == -1 and (self._transport is None or not self._transport.is_active()):
            raise ConnectionLostError(
                f"running {argv[0]} on host {self.name}: the connection was cut"
            )
        done = RemoteResult(tuple(argv), status, _text(out), _text(err))
        if check and status:
            raise ToolError(
                f"host {self.name}: {shlex.join(argv)} exited with {status}: "
                f"{(done.stderr or done.stdout).strip()[-500:]}"
            )
        return done

    def put(self, data: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file as the account, whole or not at all. Raises ToolError (a full disk ...)."""
        content = data.read_bytes() if isinstance(data, Path) else data
        partial = f"{path}.part"
        writes = ["sh", "-c", 'cat >"$1" && chmod "$2" "$1"', "sh", partial, f"{mode:o}"]
        done = self.run(writes, stdin=content, timeout_s=COPY_S)
        said = self.run(["sha256sum", "--", partial]).stdout.split(" ")[0]
        if done.returncode or said != hashlib.sha256(content).hexdigest():
            self.run(["rm", "-f", "--", partial])
            why = (
                done.stderr.strip()[-500:] or f"it arrived damaged (SHA-256 {said[:12] or 'none'})"
            )
            raise ToolError(f"host {self.name}: cannot write {path}: {why}; is its disk full?")
        self.run(["mv", "-f", "--", partial, path], check=True)

    def get(self, path: str) -> bytes:
        """Return the content of a file. Raises ToolError where it cannot be read."""
        argv = ["cat", "--", path]
        with explained(self._spec, f"reading {path} on"), self._channel(argv) as channel:
            out, err = _drain(channel, None, time.monotonic() + 120)
            status = channel.recv_exit_status()
        if out is None or status:
            raise ToolError(f"host {self.name}: cannot read {path}: {_text(err).strip()[-200:]}")
        return out

    def follow(self, argv: Sequence[str], on_line: OnLine, *, root: bool = False) -> "_Follower":
        """Start `argv`; its lines go to `on_line`, in another thread, as they come."""
        with explained(self._spec, f"running {argv[0]} on"):
            return _Follower(self._open(argv, root), on_line)

    def close(self) -> None:
        """Close the connection and those of the jump hosts."""
        _close(self._connection)

    @property
    def _transport(self) -> paramiko.Transport | None:
        transport: paramiko.Transport | None = self._connection.transport
        return transport

    def _open(self, argv: Sequence[str], root: bool) -> paramiko.Channel:
        if self._transport is None or not self._transport.is_active():
            raise EOFError("the connection is closed")
        channel = self._transport.open_session(timeout=LOGIN_S)
        with _within(LOGIN_S, channel.close, f"it starts no program for {LOGIN_S:.0f} s"):
            channel.exec_command(command_line(root_argv(self._spec, argv) if root else argv))
        return channel

    @contextlib.contextmanager
    def _channel(self, argv: Sequence[str], root: bool = False) -> Iterator[paramiko.Channel]:
        channel = self._open(argv, root)
        try:
            yield channel
        finally:
            channel.close()


def command_line(argv: Sequence[str]) -> str:
    """Return `argv` for the account's shell: every word quoted, messages in English."""
    return shlex.join(["env", "LC_ALL=C", *argv])


def _drain(
    channel: paramiko.Channel, stdin: bytes | None, deadline: float
) -> tuple[bytes | None, bytes]:
    """Return stdout and stderr; stdout is None when `deadline` (monotonic) passes first.

    Raises _TooMuchError as soon as they are longer than `_MOST_BYTES` together.
    """
    out, err = bytearray(), bytearray()
    if stdin:  # in a thread of its own, so that neither side's window fills up and stops both
        threading.Thread(target=_feed, args=(channel, stdin), daemon=True).start()
    else:
        channel.shutdown_write()
    while (left_s := deadline - time.monotonic()) > 0:
        select.select([channel], [], [], left_s)
        if channel.recv_ready():
            out += channel.recv(_CHUNK)
        elif channel.recv_stderr_ready():
            err += channel.recv_stderr(_CHUNK)
        elif channel.eof_received or channel.closed:
            break
        if len(out) + len(err) > _MOST_BYTES:
            raise _TooMuchError
    if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
        channel.close()
        return None, bytes(err)
    return bytes(out), bytes(err)


def _feed(channel: paramiko.Channel, stdin: bytes) -> None:
    with contextlib.suppress(OSError):  # a program may end before it has read everything
        channel.sendall(stdin)
        channel.shutdown_write()


class _Follower:
    """Reads a channel line by line in a thread of its own."""

    def __init__(self, channel: paramiko.Channel, on_line: OnLine):
        self._channel, self._on_line = channel, on_line
        channel.shutdown_write()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def ended(self) -> bool:
        """Whether the program or the connection is gone."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop listening; what has arrived was passed on."""
        self._channel.close()
        self._thread.join(5)

    def _read(self) -> None:
        pending = b""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while data := self._channel.recv(_CHUNK):
                *lines, pending = (pending + data).split(b"\n")
                pending = pending[:_MOST_LINE]
                for line in lines:
                    self._on_line(_text(line[:_MOST_LINE]))
        if pending:
            self._on_line(_text(pending))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
