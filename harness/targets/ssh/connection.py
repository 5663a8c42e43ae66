"""Opens ssh connections by fabric, through jump hosts, and explains their errors.

Host keys are checked strictly: an unknown or changed key is an error with advice, never a prompt.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fabric
import paramiko
import platformdirs

from harness.errors import InfrastructureError, InputError
from harness.spec.host import HostSpec, Jump
from harness.targets.ssh.shell import HostAnswerError

# paramiko logs tracebacks, as of a host that reboots, which are also raised as our own errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_S = 15.0  # limit for connecting and the host's banner
LOGIN_S = 120.0  # limit for the login, like sshd's LoginGraceTime
ALIVE_EVERY_S = 15.0
DEAD_AFTER_S = 60.0


class ConnectionLostError(InfrastructureError):
    """The host could not be reached, or the connection was lost."""


class TooMuchOutputError(Exception):
    """The output of a program on the host is too long. The message has the limit."""


class HostKeyError(InputError):
    """The host's key is unknown, or differs from the trusted one."""


def known_hosts_file(spec: HostSpec) -> Path:
    """Return the known_hosts file for this host."""
    if spec.known_hosts == "own":
        return platformdirs.user_config_path("vmapbench") / "known_hosts"
    if spec.known_hosts == "user":
        return Path.home() / ".ssh" / "known_hosts"
    return spec.folder / Path(spec.known_hosts).expanduser()


class _Transport(paramiko.Transport):
    """Exchanges keys without paramiko's limit of 15 s, as a host that sent a banner is alive."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.handshake_timeout = LOGIN_S

    def start_client(
        self, event: threading.Event | None = None, timeout: float | None = None
    ) -> None:
        """Start the key exchange; LOGIN_S replaces `timeout`, which is the one for connecting."""
        super().start_client(event, timeout and LOGIN_S)

    def close(self) -> None:
        """Close, and stop the timer of an incomplete handshake."""
        super().close()
        self.packetizer.complete_handshake()


def open_connection(
    spec: HostSpec, connect_s: float = CONNECT_S, login_s: float = LOGIN_S
) -> fabric.Connection:
    """Return an authenticated connection through all jump hosts, with every host key checked.

    `connect_s`: time limit until each hop sends its banner; `login_s`: until all logins are done.
    Raises HostKeyError, InputError and ConnectionLostError.
    """
    connection = plan_connection(spec, connect_s)
    with explained(spec, "connecting to"), _limited(connection, login_s):
        connection.open()
    threading.Thread(target=_watch_line, args=(connection.transport,), daemon=True).start()
    return connection


@contextlib.contextmanager
def within(limit_s: float, end: Callable[[], None], reason: str) -> Iterator[None]:
    """Call `end`, which makes the block fail, after `limit_s`; then raise TimeoutError(reason)."""
    late = threading.Event()

    def expire() -> None:
        late.set()
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # it has already ended
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
    """Close the connection if opening it takes longer than `login_s` or fails.

    paramiko reports a lost connection during the login as a refused login; it is one only if the
    connection is still open.
    """
    late = f"no login within {login_s:.0f} s"
    with within(login_s, lambda: close_connection(connection), late):
        try:
            yield
        except BaseException as error:
            cut = isinstance(error, paramiko.AuthenticationException) and any(
                transport and not transport.is_active() for transport in _transports(connection)
            )
            close_connection(connection)
            if cut:
                raise EOFError("the host closed the connection during the login") from error
            raise


def _transports(connection: fabric.Connection) -> list[paramiko.Transport | None]:
    """Return the transport of each hop, including those that are not logged in yet."""
    return [hop.client.get_transport() for hop in hops_of(connection)]


def close_connection(connection: fabric.Connection) -> None:
    """Close a connection and those of its jump hosts. Raises nothing."""
    for transport, hop in zip(
        reversed(_transports(connection)), reversed(hops_of(connection)), strict=True
    ):
        with contextlib.suppress(Exception):  # the connection may be lost at any point
            if transport:
                transport.close()
            hop.close()


def _watch_line(transport: paramiko.Transport) -> None:
    """Send keep-alive requests; close the connection if the host does not answer them.

    Like ssh's ServerAliveInterval. TCP would notice a pulled cable only after 15 minutes, and never
    behind a jump host or NAT, which acknowledge all data.
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
    """Return the connection, not yet open; `.gateway` is that to the last jump host, and so on.

    fabric applies ~/.ssh/config, which may change `.host` and `.port`.
    """
    kwargs: dict[str, Any] = {
        "banner_timeout": connect_s,
        "auth_timeout": 2 * LOGIN_S,  # `_limited` has a shorter limit
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
    """Return the connections to all hops, nearest first, `connection` last.

    Includes those of ProxyJump in ~/.ssh/config; a ProxyCommand is a program and not a hop.
    """
    hops: list[fabric.Connection] = []
    while isinstance(connection, fabric.Connection):
        hops.insert(0, connection)
        connection = connection.gateway
    return hops


def _make_strict(connection: fabric.Connection, known_hosts: Path) -> None:
    """Make `connection` accept only keys in the file `known_hosts`."""
    if known_hosts.is_file():
        connection.client.load_host_keys(str(known_hosts))
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())


@contextlib.contextmanager
def explained(spec: HostSpec, doing: str) -> Iterator[None]:
    """Convert exceptions of paramiko, invoke and sockets to ours, with advice.

    `doing`: begins the message, like "connecting to".
    """
    where = f"host {spec.name} ({spec.address})"
    try:
        yield
    except TooMuchOutputError as error:
        raise HostAnswerError(f"{doing} {where}: aborted after {error}") from error
    except paramiko.BadHostKeyException as error:
        raise HostKeyError(
            f"{doing} {where}: its host key is {fingerprint(error.key)}, but "
            f"{known_hosts_file(spec)} has {fingerprint(error.expected_key)}\n  This may be a "
            "man-in-the-middle attack. If the host was reinstalled: "
            f"vmapbench host trust {spec.name} --replace"
        ) from error
    except paramiko.AuthenticationException as error:
        raise InputError(
            f"{doing} {where}: login refused for {spec.user or 'this user'} ({error})\n  next: "
            "load the key into the ssh agent, or set `identity` in the host file"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
            raise HostKeyError(
                f"{doing} {where}: its host key is not in {known_hosts_file(spec)}\n  next: "
                f"compare the fingerprint and accept it once: vmapbench host trust {spec.name}"
            ) from error
        text = str(error) or type(error).__name__
        raise ConnectionLostError(
            f"{doing} {where}: {text}\n  next: vmapbench host check {spec.name}"
        ) from error


def fingerprint(key: paramiko.PKey) -> str:
    """Return the fingerprint of a key in the format of `ssh-keygen -l`: ED25519 SHA256:..."""
    return f"{key.get_name().removeprefix('ssh-').upper()} {key.fingerprint}"
