"""Atomic replacement of files: a reader sees the old content or the new, never a part."""

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacement(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a free path beside `path`; it is renamed to `path` if the block succeeds.

    `durable`: the rename is on the disk when the block ends; the content is the caller's to sync.
    An OSError names `path`, not the temporary file.
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Yield a binary stream whose content becomes the file `path` if the block succeeds.

    The temporary file has a random name; no existing file or link is followed or overwritten.
    """
    with replacement(path, durable=durable) as temporary, temporary.open("xb") as stream:
        yield stream
        stream.flush()
        if durable:
            os.fsync(stream.fileno())


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Replace the file `path` by `content` atomically; text is written as UTF-8."""
    with replacing(path, durable=durable) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def replace_link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, atomically."""
    with replacement(path) as temporary:
        temporary.symlink_to(target)


def sync_file_system(folder: Path) -> None:
    """Write out all pending data of the file system that holds `folder` (syncfs(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
