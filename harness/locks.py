"""Locks between processes: flock(2) on a file, which the kernel releases when the process ends.

On a file system without locks (NFS may be one) every function raises InfrastructureError.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.console import describe
from harness.errors import InfrastructureError, InputError


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; `on_wait` is called once if another process holds it."""
    with path.open("a") as stream:
        if not _take(stream, path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            on_wait()
            _take(stream, path, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def free_locks(*paths: Path) -> Iterator[bool]:
    """Try to take all lock files for this block; yield whether all of them were free."""
    with contextlib.ExitStack() as stack:
        streams = [(stack.enter_context(path.open("a")), path) for path in paths]
        yield all(_take(stream, path, fcntl.LOCK_EX | fcntl.LOCK_NB) for stream, path in streams)


@contextlib.contextmanager
def exclusive_lock(path: Path, text: str) -> Iterator[None]:
    """Hold the lock file `path`, which names this process.

    Raises InputError with `text` and the name of the process that holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii", errors="replace") as stream:
        if not _take(stream, path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            stream.seek(0)
            holder = stream.read(20).strip()
            process = holder if holder.isdigit() else "unknown"
            raise InputError(f"{text} (process {process})")
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def shared_until_exit(path: Path) -> int:
    """Take a shared lock on `path` until this process ends; wait while it is locked exclusively.

    Returns the file descriptor.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    _take(descriptor, path, fcntl.LOCK_SH)
    return descriptor


def lock_folder(folder: Path) -> int | None:
    """Lock a folder itself; return the file descriptor that holds it, None if it is locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    if _take(descriptor, folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        return descriptor
    os.close(descriptor)
    return None


def _take(stream: IO[str] | int, path: Path, how: int) -> bool:
    """Return whether the lock was taken. Raises InfrastructureError where there are no locks."""
    try:
        fcntl.flock(stream, how)
    except BlockingIOError:
        return False
    except OSError as error:
        error.filename = str(path)
        raise InfrastructureError(f"locking {describe(error)}") from error
    return True
