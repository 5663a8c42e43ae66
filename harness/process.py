"""Runs other programs, given as argv lists, with deadlines and logs, and leaves none behind.

Children do not inherit GIT_* variables: in a hook, an alias or `git bisect run` these name the
user's repository and index, and every git that we or a build start would use them.

Every child leads a session of its own, so that `Child.kill` reaches all that it started, and dies
with the harness even when that is killed with SIGKILL (`setpriv --pdeathsig`, util-linux).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import IO, Protocol

from harness.errors import InfrastructureError, ToolError
from harness.signals import interrupts_held


@dataclass(frozen=True)
class Completed:
    """A program that ended. `output`: stdout and stderr, interleaved, invalid UTF-8 replaced."""

    argv: tuple[str, ...]
    returncode: int
    output: str
    elapsed_s: float
    timed_out: bool = False


class Child:
    """A running program and everything that it starts."""

    def __init__(self, popen: "subprocess.Popen[bytes]", argv: Sequence[str]):
        """Wrap a process that leads its own session."""
        self._popen, self.argv = popen, tuple(argv)

    @property
    def pid(self) -> int:
        """Process id; also the id of the session and of its process group."""
        return self._popen.pid

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe from its standard output, if there is one."""
        return self._popen.stdout

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit status, or None after `timeout_s` seconds."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self, grace_s: float = 2.0) -> int:
        """End the process group with SIGTERM, after `grace_s` seconds with SIGKILL. Idempotent."""
        self._signal(signal.SIGTERM)
        if self.wait(grace_s) is None:
            self._signal(signal.SIGKILL)
        status = self._popen.wait()
        self._signal(signal.SIGKILL)  # grandchildren that outlived their parent
        return status

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)


class Spawner(Protocol):
    """Starts programs in the background."""

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> Child:
        """Start `argv` in the background, stdout and stderr appended to `log`."""


class Runner(Spawner, Protocol):
    """Runs programs; the package takes one as a parameter, so that tests can pass their own."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        idle_s: float | None = None,
        stdin: Path | None = None,
        log: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        check: bool = False,
    ) -> Completed:
        """Run `argv` to its end, as described at `SubprocessRunner.run`."""


class Children:
    """Starts children for several threads, so that another thread can end them all."""

    def __init__(self, runner: Spawner):
        """`runner` starts them."""
        self._runner, self._mutex = runner, Lock()
        self._running: list[Child] = []
        self._ended = False

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> Child:
        """Start `argv` as `Runner.spawn` does. Raises InfrastructureError after `end`."""
        with self._mutex:
            if self._ended:
                raise InfrastructureError(f"{argv[0]} is not started: the run is being ended")
            child = self._runner.spawn(argv, cwd=cwd, env=env, log=log)
            self._running = [other for other in self._running if other.poll() is None] + [child]
        return child

    def end(self) -> None:
        """Kill all running children and refuse to start more. Idempotent."""
        with self._mutex:
            self._ended = True
            for child in self._running:
                child.kill()


class SubprocessRunner:
    """Runs programs on this machine, with a limit on the output of each."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        idle_s: float | None = None,
        stdin: Path | None = None,
        log: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        check: bool = False,
    ) -> Completed:
        """Run `argv` to its end.

        `env` is added to the environment; `stdin` is a file to read from; output is appended to
        `log` and passed line by line to `on_line`. After `deadline_s` seconds, or `idle_s` seconds
        in which the session printed, read, wrote and computed nothing, all of it is killed and
        `timed_out` is set. With `check`, a non-zero status or a timeout raises ToolError with the
        last lines of output. More than 256 MiB of output always raise it.
        """
        started = time.monotonic()
        child = self._start(argv, cwd, env, subprocess.PIPE, stdin)
        try:
            with _bounded(child, deadline_s, idle_s) as expired:
                output = _tee(child, log, on_line)
                status = child.wait()
        except BaseException:
            child.kill()
            raise
        done = Completed(
            tuple(argv), int(status or 0), output, time.monotonic() - started, expired.is_set()
        )
        if check and (done.returncode or done.timed_out):
            raise ToolError(describe_failure(done, log))
        return done

    def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> Child:
        """Start `argv` in the background, stdout and stderr appended to `log` or dropped."""
        if log is None:
            return self._start(argv, cwd, env, subprocess.DEVNULL)
        with log.open("ab") as stream:
            return self._start(argv, cwd, env, stream)

    def _start(
        self,
        argv: Sequence[str],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        stdout: int | IO[bytes],
        stdin: Path | None = None,
    ) -> Child:
        death_signal = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        if shutil.which(argv[0]) is None:
            raise ToolError(f"{argv[0]}: program not found; `vmapbench doctor` names its package")
        child = None
        try:
            with (stdin or Path(os.devnull)).open("rb") as given, interrupts_held():
                popen = subprocess.Popen(
                    [*death_signal, *argv],
                    cwd=cwd,
                    env={**_own_environment(), **(env or {})},
                    stdin=given,
                    stdout=stdout,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                child = Child(popen, argv)
        except OSError as error:
            raise ToolError(f"cannot start {argv[0]}: {error}") from error
        except KeyboardInterrupt:
            if child:
                child.kill()
            raise
        return child


def _own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


@contextlib.contextmanager
def _bounded(child: Child, deadline_s: float | None, idle_s: float | None) -> Iterator[Event]:
    """Kill `child` at a limit of `SubprocessRunner.run`; yield the event that is set then."""
    expired, ended = Event(), Event()
    if not deadline_s and not idle_s:
        yield expired
        return
    thread = Thread(target=_watch, args=(child, deadline_s, idle_s, expired, ended), daemon=True)
    thread.start()
    try:
        yield expired
    finally:
        ended.set()
        thread.join()


def _watch(
    child: Child, deadline_s: float | None, idle_s: float | None, expired: Event, ended: Event
) -> None:
    now = active = started = time.monotonic()
    last = Activity(0, 0)
    pause_s = min(deadline_s or 15, (idle_s or 60) / 4, 15)
    while not ended.wait(min(pause_s, (deadline_s or pause_s) - (now - started))):
        before, now = now, time.monotonic()
        if idle_s:
            fresh = session_activity(child.pid)
            moved = fresh.transferred != last.transferred
            if moved or fresh.cpu_ns - last.cpu_ns > (now - before) * 1e9 * _BUSY:
                active = now
            last = fresh
        if (deadline_s and now - started >= deadline_s) or (idle_s and now - active >= idle_s):
            expired.set()
            child.kill()
            return


_MOST_BYTES = 256 << 20  # of output: a hostile tree or git server may print forever
_MOST_LINE = 1 << 16  # a longer one comes in parts
_BUSY = 0.02  # of a CPU; a process that polls for an answer uses less


@dataclass(frozen=True)
class Activity:
    """Bytes that the processes of a session have read and written, and ns on a CPU."""

    transferred: int
    cpu_ns: int


def session_activity(session: int) -> Activity:
    """Return the sum over the living processes of a session (proc(5): io, schedstat)."""
    transferred = cpu_ns = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (process / "stat").read_bytes()
            if int(stat.rpartition(b")")[2].split()[3]) != session:
                continue
            counts = dict(line.split(": ") for line in (process / "io").read_text().splitlines())
            transferred += int(counts["rchar"]) + int(counts["wchar"])
            for thread in (process / "task").iterdir():
                cpu_ns += int((thread / "schedstat").read_text().split()[0])
    return Activity(transferred, cpu_ns)


def describe_failure(done: Completed, log: Path | None = None) -> str:
    """Return the command, how it failed, and its last ten lines of output."""
    how = "did not end in time" if done.timed_out else f"exited with {done.returncode}"
    tail = "\n".join(f"    {line}" for line in done.output.splitlines()[-10:])
    where = f"\n  log: {log}" if log else ""
    return f"{done.argv[0]} {how}{where}\n{tail}".rstrip()


def _tee(child: Child, log: Path | None, on_line: Callable[[str], None] | None) -> str:
    assert child.stdout is not None
    lines: list[bytes] = []
    room = _MOST_BYTES
    with contextlib.ExitStack() as stack:
        stdout = stack.enter_context(child.stdout)
        stream = stack.enter_context(log.open("ab")) if log else None
        while raw := stdout.readline(_MOST_LINE):
            room -= len(raw)
            if room < 0:
                raise ToolError(
                    f"{child.argv[0]} printed more than {_MOST_BYTES >> 20} MiB, and was ended"
                    + (f"\n  log: {log}" if log else "")
                )
            if stream:
                stream.write(raw)
                stream.flush()
            lines.append(raw)
            if on_line:
                on_line(raw.decode(errors="replace").rstrip("\r\n"))
    return b"".join(lines).decode(errors="replace")


def host_boot_id() -> str:
    """Return an id that changes with every boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
