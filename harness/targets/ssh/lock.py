"""The lock of a host: one run at a time, across processes, users and machines.

The lock is a file in the host's state folder, which unlike /run survives a reboot. It is changed on
the host under flock(1), so that changes are atomic. It is taken over automatically only from a
process on the same machine that has ended.
"""

import getpass
import json
import os
import platform
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import InputError, ToolError
from harness.process import host_boot_id
from harness.targets.ssh.shell import RemoteResult, Shell

# $1: lock file, $2: token of the holder; stdin: new content.
_ACQUIRE = 'test ! -e "$1" || exit 3; cat >"$1.new" && mv "$1.new" "$1"'
_RENEW = 'grep -qF -e "$2" "$1" || exit 4; cat >"$1.new" && mv "$1.new" "$1"'
_RELEASE = 'grep -qF -e "$2" "$1" || exit 4; rm -f "$1"'
_READ = 'test -e "$1" || exit 5; date +%s; stat -c %Y "$1"; cat "$1"'


_Word = Annotated[str, Field(max_length=256)]


@dataclass(frozen=True)
class Holder:
    """The process that holds a host. `started`: its start time, in clock ticks since boot."""

    token: str
    user: str
    machine: str
    boot_id: str
    pid: int
    started: int
    purpose: str


class _LockFile(BaseModel):
    """The content of the lock file. `lease_s`: seconds of the lease since the last change."""

    model_config = ConfigDict(strict=True, extra="forbid")
    token: _Word
    user: _Word
    machine: _Word
    boot_id: _Word
    pid: Annotated[int, Field(ge=1, le=1 << 22)]
    started: Annotated[int, Field(ge=0, le=1 << 62)]
    purpose: _Word
    lease_s: Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True)
class Held:
    """A lock on a host. `age_s`: seconds since it was renewed, by the host's clock."""

    holder: Holder
    age_s: int
    lease_s: int

    @property
    def expired(self) -> bool:
        """Whether its lease has expired."""
        return self.age_s > self.lease_s

    def describe(self) -> str:
        """Return a text with the holder, its purpose, and the lease."""
        holder = self.holder
        left_s = self.lease_s - self.age_s
        until = f"for {left_s} s more" if left_s >= 0 else f"expired {-left_s} s ago"
        return (
            f"held by {holder.user}@{holder.machine}, process {holder.pid}, for {holder.purpose}; "
            f"renewed {self.age_s} s ago, {until}"
        )


def this_process(purpose: str) -> Holder:
    """Return this process as a holder, with a random token."""
    return Holder(
        token=secrets.token_hex(16),
        user=getpass.getuser(),
        machine=platform.node(),
        boot_id=host_boot_id(),
        pid=os.getpid(),
        started=start_ticks(os.getpid()) or 0,
        purpose=purpose,
    )


def start_ticks(pid: int) -> int | None:
    """Return when a local process started, in clock ticks since boot (proc(5), stat), or None."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else int(fields[18])


def is_gone(holder: Holder) -> bool:
    """Return whether the holder ran on this machine and has certainly ended."""
    if holder.machine != platform.node():
        return False
    return holder.boot_id != host_boot_id() or start_ticks(holder.pid) != holder.started


class HostLock:
    """The lock of a host, used by one process."""

    def __init__(self, state: str, holder: Holder):
        """`state`: folder of the lock file on the host."""
        self._file, self._mutex = f"{state}/lock", f"{state}/mutex"
        self.holder = holder

    def acquire(self, shell: Shell, lease_s: int, notify: Callable[[str], None]) -> None:
        """Acquire the lock for `lease_s` seconds. Raises InputError if someone else holds it.

        The lock of a local process that has ended is taken over, with a message to `notify`.
        """
        for _ in range(3):
            done = self._locked(shell, _ACQUIRE, self._content(lease_s))
            if done.returncode == 0:
                return
            if done.returncode != 3:
                raise ToolError(
                    f"host {shell.name}: cannot lock it: {done.stderr.strip()[-300:]}\n"
                    f"  next: chown {self._file.rpartition('/')[0]} to the account, or free space"
                )
            held = read_lock(shell, self._file.rpartition("/")[0])
            if held is None:
                continue  # released meanwhile
            if not is_gone(held.holder):
                raise InputError(refusal(shell.name, held))
            notify(f"taking over from a process that has ended: {held.describe()}")
            self._locked(shell, _RELEASE, b"", held.holder.token)
        raise InputError(f"host {shell.name}: its lock is contended; try again")

    def renew(self, shell: Shell, lease_s: int) -> None:
        """Extend the lease to `lease_s` seconds from now. Raises InputError if it was broken."""
        if self._locked(shell, _RENEW, self._content(lease_s)).returncode:
            raise InputError(f"host {shell.name}: the lock of this run was removed by someone else")

    def release(self, shell: Shell) -> None:
        """Release the lock, if this process still holds it."""
        self._locked(shell, _RELEASE, b"")

    def _content(self, lease_s: int) -> bytes:
        return json.dumps({**asdict(self.holder), "lease_s": lease_s}).encode()

    def _locked(self, shell: Shell, script: str, stdin: bytes, token: str = "") -> RemoteResult:
        argv = ["flock", "-w", "20", self._mutex, "sh", "-c", script, "sh", self._file]
        return shell.run([*argv, token or self.holder.token], stdin=stdin)


def read_lock(shell: Shell, state: str) -> Held | None:
    """Return the lock of a host, or None. Raises ToolError if the file is not a valid lock."""
    done = shell.run(["sh", "-c", _READ, "sh", f"{state}/lock"])
    if done.returncode == 5:
        return None
    try:
        now, renewed, content = done.stdout.split("\n", 2)
        age_s = _seconds(now) - _seconds(renewed)
        file = _LockFile.model_validate_json(content)
    except ValueError as error:  # includes pydantic's ValidationError
        why = done.stderr.strip()[-200:] or str(error).splitlines()[0]
        raise ToolError(
            f"host {shell.name}: {state}/lock is not a valid lock ({why})\n"
            f"  next: vmapbench host unlock {shell.name} --break"
        ) from error
    holder = Holder(**file.model_dump(exclude={"lease_s"}))
    return Held(holder, age_s, file.lease_s)


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError(f"expected a time, found {text[:40]!r}")
    return int(text)


def refusal(name: str, held: Held) -> str:
    """Return the error message for a host that is locked, with advice."""
    advice = f"wait for it, or ask {held.holder.user}"
    if held.expired:
        advice = "its lease has expired"
    return (
        f"host {name}: {held.describe()}\n  {advice}; "
        f"if that run has certainly ended: vmapbench host unlock {name} --break"
    )


def break_lock(shell: Shell, state: str) -> None:
    """Remove the lock, whoever holds it. The holder's next renewal fails."""
    argv = ["flock", "-w", "20", f"{state}/mutex", "rm", "-f", "--", f"{state}/lock"]
    shell.run(argv, check=True)
