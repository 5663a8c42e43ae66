"""Temporary folders, which the next process removes if their own was killed.

Each is locked by the process that uses it. Making one removes those that nobody locks.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import InfrastructureError
from harness.locks import lock_folder, locked


@contextlib.contextmanager
def scratch_folder(purpose: str, place: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder for this block, in `place` or the system's temporary folder.

    Its name is short, so that a socket in it stays below the limit of sun_path.
    """
    parent = _own_folder((place or Path(tempfile.gettempdir())) / f"vmapbench-{os.geteuid()}")
    with locked(parent / "lock"):
        _remove_dead(parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=parent))
        descriptor = lock_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _own_folder(folder: Path) -> Path:
    """Make `folder` with mode 0700. Raises InfrastructureError if it belongs to another user."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    stat = folder.lstat()
    if folder.is_symlink() or not folder.is_dir() or stat.st_uid != os.geteuid():
        raise InfrastructureError(
            f"{folder} is not a folder of this user\n  next: remove it, or set TMPDIR"
        )
    return folder


def _remove_dead(parent: Path) -> None:
    for folder in parent.iterdir():
        if folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(OSError):
            descriptor = lock_folder(folder)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)
