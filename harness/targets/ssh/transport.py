"""Runs programs on a lab host on channels of its ssh connection, and copies files."""

import contextlib
import hashlib
import select
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import paramiko

from harness.errors import ToolError
from harness.spec.host import HostSpec
from harness.targets.ssh.connection import (
    CONNECT_S,
    LOGIN_S,
    ConnectionLostError,
    TooMuchOutputError,
    close_connection,
    explained,
    open_connection,
    within,
)
from harness.targets.ssh.helper import root_argv
from harness.targets.ssh.shell import COPY_S, OnLine, RemoteResult

_CHUNK = 1 << 16
_MOST_BYTES = 64 << 20  # output of a program; the largest kernel log of a trial has 16 MiB
_MOST_LINE = 1 << 16  # bytes of a followed line; the rest is dropped


class HostShell:
    """A `Shell` over ssh. To reconnect, create a new one."""

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
        """Run `argv` until it ends. Raises ConnectionLostError after `timeout_s` as well."""
        with explained(self._spec, f"running {argv[0]} on"), self._channel(argv, root) as channel:
            out, err = _drain(channel, stdin, time.monotonic() + timeout_s)
            status = channel.recv_exit_status()
        if out is None:
            raise ConnectionLostError(
                f"running {shlex.join(argv)} on host {self.name}: timeout after {timeout_s:.0f} s"
            )
        if status == -1 and (self._transport is None or not self._transport.is_active()):
            raise ConnectionLostError(
                f"running {argv[0]} on host {self.name}: the connection was lost"
            )
        done = RemoteResult(tuple(argv), status, _text(out), _text(err))
        if check and status:
            raise ToolError(
                f"host {self.name}: {shlex.join(argv)} exited with {status}: "
                f"{(done.stderr or done.stdout).strip()[-500:]}"
            )
        return done

    def put(self, data: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file atomically as the account's user. Raises ToolError, as for a full disk."""
        content = data.read_bytes() if isinstance(data, Path) else data
        partial = f"{path}.part"
        writes = ["sh", "-c", 'cat >"$1" && chmod "$2" "$1"', "sh", partial, f"{mode:o}"]
        done = self.run(writes, stdin=content, timeout_s=COPY_S)
        said = self.run(["sha256sum", "--", partial]).stdout.split(" ")[0]
        if done.returncode or said != hashlib.sha256(content).hexdigest():
            self.run(["rm", "-f", "--", partial])
            why = (
                done.stderr.strip()[-500:] or f"wrong SHA-256 after copying: {said[:12] or 'none'}"
            )
            raise ToolError(f"host {self.name}: cannot write {path}: {why}; is its disk full?")
        self.run(["mv", "-f", "--", partial, path], check=True)

    def get(self, path: str) -> bytes:
        """Return the content of a file. Raises ToolError if it cannot be read."""
        argv = ["cat", "--", path]
        with explained(self._spec, f"reading {path} on"), self._channel(argv) as channel:
            out, err = _drain(channel, None, time.monotonic() + 120)
            status = channel.recv_exit_status()
        if out is None or status:
            raise ToolError(f"host {self.name}: cannot read {path}: {_text(err).strip()[-200:]}")
        return out

    def follow(self, argv: Sequence[str], on_line: OnLine, *, root: bool = False) -> "_Follower":
        """Start `argv`; `on_line` is called in another thread for each line of output."""
        with explained(self._spec, f"running {argv[0]} on"):
            return _Follower(self._open(argv, root), on_line)

    def close(self) -> None:
        """Close the connection and those of the jump hosts."""
        close_connection(self._connection)

    @property
    def _transport(self) -> paramiko.Transport | None:
        transport: paramiko.Transport | None = self._connection.transport
        return transport

    def _open(self, argv: Sequence[str], root: bool) -> paramiko.Channel:
        if self._transport is None or not self._transport.is_active():
            raise EOFError("the connection is closed")
        channel = self._transport.open_session(timeout=LOGIN_S)
        with within(LOGIN_S, channel.close, f"the program did not start within {LOGIN_S:.0f} s"):
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
    """Return `argv` as a command for the account's shell, with quoted words and LC_ALL=C."""
    return shlex.join(["env", "LC_ALL=C", *argv])


def _drain(
    channel: paramiko.Channel, stdin: bytes | None, deadline: float
) -> tuple[bytes | None, bytes]:
    """Return stdout and stderr; stdout is None if `deadline` (monotonic) passes first.

    Raises TooMuchOutputError once both together exceed `_MOST_BYTES`.
    """
    out, err = bytearray(), bytearray()
    if stdin:  # in another thread, as full windows on both sides would be a deadlock
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
            raise TooMuchOutputError(f"more than {_MOST_BYTES >> 20} MiB of output")
    if not channel.status_event.wait(max(0.0, deadline - time.monotonic())):
        channel.close()
        return None, bytes(err)
    return bytes(out), bytes(err)


def _feed(channel: paramiko.Channel, stdin: bytes) -> None:
    with contextlib.suppress(OSError):  # a program may end before it has read everything
        channel.sendall(stdin)
        channel.shutdown_write()


class _Follower:
    """Reads a channel line by line in another thread."""

    def __init__(self, channel: paramiko.Channel, on_line: OnLine):
        self._channel, self._on_line = channel, on_line
        channel.shutdown_write()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def ended(self) -> bool:
        """Return whether the program or the connection has ended."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop listening; lines that have arrived were passed on."""
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
