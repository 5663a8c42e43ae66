"""Files that are replaced whole or not at all, however the process ends."""

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacement(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a free path beside `path`; what the block makes there becomes `path` if it ends well.

    `durable`: a power cut does not take the new file back, once its content is on the disk.
    An OSError names `path`, not the temporary one.
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
    """Give a stream whose content becomes the file `path` if the block ends well.

    A reader sees the old file or the new one. No file beside it is followed or overwritten.
    """
    with replacement(path, durable=durable) as temporary, temporary.open("xb") as stream:
        yield stream
        stream.flush()
        if durable:
            os.fsync(stream.fileno())


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Make `content` the file at `path`, text as UTF-8; see `replacing`."""
    with replacing(path, durable=durable) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def replace_link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, in one step."""
    with replacement(path) as temporary:
        temporary.symlink_to(target)


def sync_file_system(folder: Path) -> None:
    """Write to the disk whatever the file system of `folder` has pending (syncfs(2)), no other."""
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
