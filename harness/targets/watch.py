"""Runs a QEMU guest until it ends, watched over QMP, with a time limit for each phase.

Limits are measured with `harness.targets.guestclock`, so that a busy host does not make a boot
fail.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from qemu.qmp import EventListener, QMPClient, QMPError

from harness.errors import InfrastructureError
from harness.guest.frames import parse_frames
from harness.process import Child, Spawner
from harness.scratch import scratch_folder
from harness.targets.base import BootResult, Progress
from harness.targets.guestclock import GuestClock
from harness.targets.outcome import Ending, judge_guest

ArgvFor = Callable[[Path], list[str]]
"""Returns the QEMU command; the argument is the path of its QMP socket."""

_POLL_S = 0.05
_CONNECT_S = 30.0
_ROOM_BYTES = 32 << 20  # disk space for the initramfs and logs of a boot
_MOST_BYTES = 256 << 20  # of console and report, so that endless output cannot fill the disk


@dataclass(frozen=True)
class BootLimits:
    """Time limits in seconds of the guest's clock.

    After `boot_s + test_s`, silence of `grace_s` is a hang. `first_output_s`: limit for the first
    output; None: `boot_s`.
    """

    boot_s: float
    test_s: float
    grace_s: float = 30.0
    first_output_s: float | None = None

    @property
    def deadline_s(self) -> float:
        """The limit for a guest that still prints messages."""
        return self.boot_s + 5 * self.test_s + self.grace_s


def watch_guest(
    argv_for: ArgvFor,
    folder: Path,
    nonce: str,
    loads: int,
    limits: BootLimits,
    runner: Spawner,
    progress: Progress,
    env: Mapping[str, str] | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> BootResult:
    """Start QEMU, watch the guest, end it at a time limit, and judge it.

    Writes console.log, report and qemu.log to `folder`. `nonce`: of the report's frames; `loads`:
    expected number of loads; `enough`: polled, ends the guest when it returns True. Raises
    InfrastructureError if QEMU ends by itself or the disk is full; QEMU has ended when this returns
    or raises.
    """
    _require_room(folder)
    # Not in the run's folder, as the path of a UNIX socket is limited to 107 bytes.
    with scratch_folder("guest") as short:
        argv = argv_for(short / "qmp")
        started = time.monotonic()
        watcher = _Watcher(folder, nonce, limits, progress, enough)
        child = runner.spawn(argv, log=folder / "qemu.log", env=env)
        try:
            ending = asyncio.run(watcher.follow(child, short / "qmp"))
        finally:
            child.kill()
    elapsed_s = time.monotonic() - started
    frames = parse_frames(_read(folder / "report"), nonce)
    console = _read(folder / "console.log").decode(errors="replace")
    judgement = judge_guest(frames, console, ending, loads, elapsed_s)
    if judgement.verdict.bad:
        _require_room(folder)
    facts = {**judgement.facts, **watcher.facts, "ending": ending.value}
    judged = {**vars(judgement), "facts": facts}
    return BootResult(
        **judged, console=folder / "console.log", argv=tuple(argv), elapsed_s=elapsed_s
    )


class _Watcher:
    def __init__(
        self,
        folder: Path,
        nonce: str,
        limits: BootLimits,
        progress: Progress,
        enough: Callable[[], bool],
    ):
        self._folder, self._limits, self._progress = folder, limits, progress
        self._enough = enough
        self._ready_mark = f"<<{nonce} begin ready>>".encode()
        self._size, self._last_growth = 0, 0.0
        self._ready_at: float | None = None
        self.facts: dict[str, Any] = {}

    async def follow(self, child: Child, socket: Path) -> Ending:
        """Return how the guest ended; the caller kills it if necessary."""
        self._progress("booting")
        started = time.monotonic()
        within_s = self._limits.first_output_s or _CONNECT_S
        async with _monitor(child, socket, self._folder, within_s) as client:
            listener = EventListener(("SHUTDOWN",))
            client.register_listener(listener)
            self.facts |= await _arrange_cpus(client, child.pid)
            threads, cores = self.facts["vcpu_threads"], self.facts["host_cores"]
            clock = GuestClock(child.pid, threads, cores)
            while child.poll() is None and listener.empty():
                _raise_interrupt()
                self._note_growth(clock.elapsed_s(), time.monotonic() - started)
                ending = self._limit_passed(clock.elapsed_s())
                self.facts["guest_s"] = round(clock.elapsed_s(), 1)
                self.facts["run_delay_ns"] = clock.waited_ns
                if ending:
                    return ending
                if self._enough():
                    return Ending.ENOUGH
                await asyncio.sleep(_POLL_S)
            await asyncio.sleep(0)  # deliver an event that came with the end
            if not listener.empty():
                event = await listener.get()
                _raise_interrupt()
                return _ending_of(event, child, self._folder)
        if child.wait(5) == 0:
            return Ending.POWERED_OFF  # the event was lost with the connection
        raise _died(child, self._folder)

    def _note_growth(self, now_s: float, host_s: float) -> None:
        """Record the guest's output so far, at `now_s` on its clock, `host_s` after its start."""
        size = sum(_size(self._folder / name) for name in ("console.log", "report"))
        if size == self._size:
            return
        self._size, self._last_growth = size, now_s
        if self._ready_at is None and self._ready_mark in _read(self._folder / "report"):
            self._ready_at = now_s
            self.facts["ready_s"] = round(host_s, 1)
            self._progress("testing")

    def _limit_passed(self, now_s: float) -> Ending | None:
        limits = self._limits
        silent = now_s - self._last_growth > limits.grace_s
        if self._size > _MOST_BYTES:
            return Ending.FLOOD
        if not self._size and limits.first_output_s and now_s > limits.first_output_s:
            return Ending.NO_OUTPUT
        if self._ready_at is None:
            if now_s > limits.boot_s and silent:
                return Ending.NOT_READY
        elif now_s - self._ready_at > limits.test_s and silent:
            return Ending.SILENT
        return Ending.DEADLINE if now_s > limits.deadline_s else None


def _raise_interrupt() -> None:
    """Raise the cancellation by Ctrl-C, if it was swallowed.

    `asyncio.wait_for` in Python 3.11 swallows it if the awaited result arrives at the same time
    (github.com/python/cpython, issue 81839); QMPClient uses it for the greeting of the monitor.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _arrange_cpus(client: QMPClient, pid: int) -> dict[str, Any]:
    """Pin each vCPU thread to a core, if QEMU has enough cores; return facts on it."""
    cpus = cast("list[dict[str, Any]]", await client.execute("query-cpus-fast"))
    threads = [cpu["thread-id"] for cpu in cpus]
    cores = sorted(os.sched_getaffinity(pid))
    pinned = len(threads) < len(cores)  # one core is left for QEMU's main loop and the harness
    if pinned:
        for thread, core in zip(threads, cores, strict=False):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, {core})
    return {"vcpu_threads": threads, "pinned": pinned, "host_cores": len(cores)}


@contextlib.asynccontextmanager
async def _monitor(
    child: Child, socket: Path, folder: Path, within_s: float
) -> AsyncIterator[QMPClient]:
    """Connect to QEMU's monitor. Raises InfrastructureError if QEMU ends before it answers."""
    client = QMPClient("vmapbench")
    clock = GuestClock(child.pid, [child.pid], 1)
    while True:
        try:
            await client.connect(str(socket))
            break
        except (QMPError, OSError) as error:
            if child.poll() is not None or clock.elapsed_s() > within_s:
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
    parts = _read(folder / "qemu.log").decode(errors="replace").strip().splitlines()[-5:]
    how = "does not answer" if status is None else f"ended by itself with status {status}"
    said = "".join(f"\n    {word}" for word in parts)
    return InfrastructureError(f"QEMU {how}{why}\n  log: {folder / 'qemu.log'}{said}")


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise InfrastructureError(
            f"no disk space for the logs of a boot: {free >> 20} MiB free below {folder}, "
            f"{_ROOM_BYTES >> 20} MiB needed; free some, then resume the run"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
