"""Runs one QEMU guest to its end, under QMP, with a deadline for each phase."""

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from qemu.qmp import EventListener, QMPClient, QMPError

from harness.errors import InfrastructureError
from harness.guest.frames import parse_frames
from harness.process import Child, Spawner
from harness.targets.base import Progress
from harness.targets.outcome import Ending, Judgement, judge_guest

ArgvFor = Callable[[Path], list[str]]
"""Returns the QEMU command for the path of its QMP socket."""

_POLL_S = 0.05
_CONNECT_S = 30.0
_ROOM_BYTES = 32 << 20  # a boot needs an initramfs and logs


@dataclass(frozen=True)
class BootLimits:
    """Seconds of host time. Past `boot_s + test_s`, silence of `grace_s` is a hang."""

    boot_s: float
    test_s: float
    grace_s: float = 30.0

    @property
    def deadline_s(self) -> float:
        """When even a talking guest is ended."""
        return self.boot_s + 5 * self.test_s + self.grace_s


@dataclass(frozen=True)
class Outcome(Judgement):
    """A judgement with the command that led to it."""

    argv: tuple[str, ...]
    elapsed_s: float


def watch_guest(
    argv_for: ArgvFor,
    folder: Path,
    nonce: str,
    loads: int,
    limits: BootLimits,
    runner: Spawner,
    progress: Progress,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Start QEMU, follow the guest, end it at a limit, and judge what it left in `folder`.

    Writes console.log, report and qemu.log as they arrive. Raises InfrastructureError when QEMU
    dies by itself or the disk is full; on any exception, QEMU is gone.
    """
    _require_room(folder)
    # A UNIX socket's path may have 107 bytes, so it does not live in the run's folder.
    with tempfile.TemporaryDirectory(prefix="vmapbench-") as short:
        argv = argv_for(Path(short) / "qmp")
        started = time.monotonic()
        watcher = _Watcher(folder, nonce, limits, progress)
        child = runner.spawn(argv, log=folder / "qemu.log", env=env)
        try:
            ending = asyncio.run(watcher.follow(child, Path(short) / "qmp"))
        finally:
            child.kill()
    elapsed_s = time.monotonic() - started
    frames = parse_frames(_read(folder / "report"), nonce)
    console = _read(folder / "console.log").decode(errors="replace")
    judgement = judge_guest(frames, console, ending, loads, elapsed_s)
    if judgement.verdict.bad:
        _require_room(folder)
    facts = {**judgement.facts, **watcher.facts}
    return Outcome(
        judgement.verdict,
        judgement.reason,
        judgement.kernel_log,
        judgement.load_ns,
        facts,
        tuple(argv),
        elapsed_s,
    )


class _Watcher:
    def __init__(self, folder: Path, nonce: str, limits: BootLimits, progress: Progress):
        self._folder, self._limits, self._progress = folder, limits, progress
        self._ready_mark = f"<<{nonce} begin ready>>".encode()
        self._size, self._last_growth, self._ready_at = 0, time.monotonic(), 0.0
        self.facts: dict[str, Any] = {}

    async def follow(self, child: Child, socket: Path) -> Ending:
        """Return how the guest ended; kill nothing (the caller does)."""
        started = time.monotonic()
        self._progress("booting")
        async with _monitor(child, socket, self._folder) as client:
            listener = EventListener(("SHUTDOWN",))
            client.register_listener(listener)
            self.facts |= await _arrange_cpus(client, child.pid)
            while child.poll() is None and listener.empty():
                _heed_interrupt()
                ending = self._limit_passed(time.monotonic() - started)
                if ending:
                    return ending
                self._read_run_delay(child.pid)
                await asyncio.sleep(_POLL_S)
            await asyncio.sleep(0)  # let an event that came with the end be delivered
            if not listener.empty():
                event = await listener.get()
                _heed_interrupt()
                return _ending_of(event, child, self._folder)
        if child.wait(5) == 0:
            return Ending.POWERED_OFF  # the event was lost with the connection
        raise _died(child, self._folder)

    def _limit_passed(self, elapsed_s: float) -> Ending | None:
        now = time.monotonic()
        size = sum(_size(self._folder / name) for name in ("console.log", "report"))
        if size != self._size:
            self._size, self._last_growth = size, now
            self._note_ready(now)
        limits = self._limits
        silent = now - self._last_growth > limits.grace_s
        if not self._ready_at and elapsed_s > limits.boot_s and silent:
            return Ending.NOT_READY
        if self._ready_at and now - self._ready_at > limits.test_s and silent:
            return Ending.SILENT
        return Ending.DEADLINE if elapsed_s > limits.deadline_s else None

    def _note_ready(self, now: float) -> None:
        if not self._ready_at and self._ready_mark in _read(self._folder / "report"):
            self._ready_at = now
            self._progress("testing")

    def _read_run_delay(self, pid: int) -> None:
        """Note how long the vCPU threads have waited for a core, in ns (proc(5), schedstat)."""
        delay = 0
        for thread in self.facts["vcpu_threads"]:
            with contextlib.suppress(OSError, IndexError, ValueError):
                schedstat = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text(encoding="ascii")
                delay += int(schedstat.split()[1])
        self.facts["run_delay_ns"] = max(delay, self.facts.get("run_delay_ns", 0))


def _heed_interrupt() -> None:
    """Raise the cancellation that Ctrl-C asked for, where somebody has swallowed it.

    `asyncio.wait_for` does in Python 3.11 when what it waits for comes at the same moment; the
    greeting of QEMU's monitor is waited for with it (github.com/python/cpython, issue 81839).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _arrange_cpus(client: QMPClient, pid: int) -> dict[str, Any]:
    """Pin each vCPU thread to one of QEMU's cores if there are enough; return what was done."""
    cpus = cast("list[dict[str, Any]]", await client.execute("query-cpus-fast"))
    threads = [cpu["thread-id"] for cpu in cpus]
    cores = sorted(os.sched_getaffinity(pid))
    pinned = len(threads) < len(cores)  # one core stays for QEMU's main loop and the harness
    if pinned:
        for thread, core in zip(threads, cores, strict=False):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, {core})
    return {"vcpu_threads": threads, "pinned": pinned, "host_cores": len(cores)}


@contextlib.asynccontextmanager
async def _monitor(child: Child, socket: Path, folder: Path) -> AsyncIterator[QMPClient]:
    """Connect to QEMU's monitor. Raises InfrastructureError when QEMU ends before it answers."""
    client = QMPClient("vmapbench")
    deadline = time.monotonic() + _CONNECT_S
    while True:
        try:
            await client.connect(str(socket))
            break
        except (QMPError, OSError) as error:
            if child.poll() is not None or time.monotonic() > deadline:
                raise _died(child, folder) from error
            await asyncio.sleep(_POLL_S)
    try:
        yield client
    finally:
        with contextlib.suppress(QMPError, OSError, EOFError):
            await client.disconnect()


def _ending_of(event: Mapping[str, Any], child: Child, folder: Path) -> Ending:
    reason = event.get("data", {}).get("reason", "")
    if reason in ("guest-reset", "guest-panic"):
        return Ending.RESET
    if reason == "guest-shutdown":
        return Ending.POWERED_OFF
    raise _died(child, folder, f" ({reason})")


def _died(child: Child, folder: Path, why: str = "") -> InfrastructureError:
    status = child.wait(1)
    words = _read(folder / "qemu.log").decode(errors="replace").strip().splitlines()[-5:]
    how = "gives no answer" if status is None else f"ended by itself with status {status}"
    said = "".join(f"\n    {word}" for word in words)
    return InfrastructureError(f"QEMU {how}{why}\n  log: {folder / 'qemu.log'}{said}")


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise InfrastructureError(
            f"no room for the logs of a boot: {free >> 20} MiB free below {folder}, "
            f"{_ROOM_BYTES >> 20} MiB needed; free some, then resume the run"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
