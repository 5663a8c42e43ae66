"""Shows the key of a host, and stores it after the user has compared it."""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import fabric
import paramiko

from harness.errors import InputError
from harness.files import replace_file
from harness.spec.host import HostSpec
from harness.targets.ssh.connection import (
    CONNECT_S,
    LOGIN_S,
    ConnectionLostError,
    explained,
    fingerprint,
    hops_of,
    known_hosts_file,
    plan_connection,
)


@dataclass(frozen=True)
class Shown:
    """A host key that a machine has sent. `name`: its name in known_hosts."""

    name: str
    key: paramiko.PKey
    known: tuple[str, ...]  # fingerprints that are already trusted for this name

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint in the format of `ssh-keygen -l`."""
        return fingerprint(self.key)

    @property
    def trusted(self) -> bool:
        """Whether this key is already trusted."""
        return self.fingerprint in self.known


def next_unknown(spec: HostSpec) -> Shown:
    """Return the first untrusted key of the jump hosts and the host, or else the host's key.

    Logs in to trusted jump hosts; with an untrusted one, only keys are exchanged. Raises
    ConnectionLostError, InputError.
    """
    chain = hops_of(plan_connection(spec))
    with contextlib.ExitStack() as stack, explained(spec, "asking for the key of"):
        for hop in chain:
            shown = _ask(hop, known_hosts_file(spec), stack)
            if hop is chain[-1] or not shown.trusted:
                return shown
            hop.open()
            stack.callback(hop.close)
    raise ConnectionLostError(f"host {spec.name}: neither it nor a jump host answered")


def _ask(hop: fabric.Connection, file: Path, stack: contextlib.ExitStack) -> Shown:
    name = hop.host if int(hop.port) == 22 else f"[{hop.host}]:{hop.port}"
    known = paramiko.HostKeys()
    with contextlib.suppress(FileNotFoundError):
        known.load(str(file))
    entries: Mapping[str, paramiko.PKey] = known.lookup(name) or {}
    if hop.gateway is None:
        transport = paramiko.Transport(_dial(hop.host, int(hop.port)))
    else:
        transport = paramiko.Transport(hop.open_gateway())
    stack.callback(transport.close)
    # Request the type of key that is already known, so that they can be compared.
    kinds = [kind for kind in entries if kind in transport.preferred_keys]
    if kinds:
        options = transport.get_security_options()
        options.key_types = (*kinds, *(k for k in options.key_types if k not in kinds))
    transport.start_client(timeout=LOGIN_S)
    key = transport.get_remote_server_key()
    return Shown(name, key, tuple(fingerprint(trusted) for trusted in entries.values()))


def _dial(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=CONNECT_S)


def remember(spec: HostSpec, shown: Shown, *, replace: bool = False) -> Path:
    """Add the key to the host's known_hosts file atomically; return the path of the file.

    Raises InputError if another key is trusted, unless `replace`.
    """
    file = known_hosts_file(spec)
    if shown.known and not shown.trusted and not replace:
        raise InputError(
            f"host {spec.name}: {file} has the key {', '.join(shown.known)} for {shown.name}, but "
            f"it is now {shown.fingerprint}\n  This may be a man-in-the-middle attack. If the host "
            f"was reinstalled: vmapbench host trust {spec.name} --replace"
        )
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = list(_other_lines(file, shown.name)) if shown.known else _lines(file)
    line = f"{shown.name} {shown.key.get_name()} {shown.key.get_base64()}"
    replace_file(file, "\n".join([*lines, line, ""]))
    return file


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _other_lines(file: Path, name: str) -> Iterator[str]:
    """Yield the lines of known_hosts without those of `name`, plain or hashed."""
    for line in _lines(file):
        names, space, rest = line.partition(" ")
        if line.startswith(("#", "@")):  # a comment, or a marker like @cert-authority
            yield line
        elif others := [word for word in names.split(",") if not _is_name(word, name)]:
            yield ",".join(others) + space + rest


def _is_name(word: str, name: str) -> bool:
    return word == name or (
        word.startswith("|1|") and paramiko.HostKeys.hash_host(name, word) == word
    )
