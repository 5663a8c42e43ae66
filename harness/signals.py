"""SIGTERM and SIGHUP act like Ctrl-C: guests are ended and hosts released, pages are written."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_HELD: tuple[int, ...] = (signal.SIGINT, *_SIGNALS)


@contextlib.contextmanager
def termination_interrupts() -> Iterator[None]:
    """Do in this block, in the main thread, on the first SIGTERM or SIGHUP what Ctrl-C does.

    Further ones (a shell and the kernel may both send SIGHUP) do not interrupt the cleanup. A
    process started with SIGHUP ignored, as by nohup, keeps ignoring it. Output to a terminal that
    has gone is dropped.
    """
    terminals = [number for number in (0, 1, 2) if os.isatty(number)]

    def interrupt(_number: int, frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for terminal in terminals:
            if not os.isatty(terminal):
                os.dup2(os.open(os.devnull, os.O_RDWR), terminal)
        ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(ctrl_c):  # asyncio.run has one that cancels its main task
            ctrl_c(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    ours = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is interrupt:  # else it is ending already
                signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Defer signals that arrive in this block to its end.

    For steps that must not be interrupted: in the middle of `subprocess.Popen` that would leave an
    unknown child. Signals reach the main thread only, so other threads need nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _HELD}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in held:
            signal.raise_signal(number)
