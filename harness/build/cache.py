"""The build cache: its folders, its locks, and finished builds.

    sources/DIGEST/        unpacked sources, never written again
    kernels/KEY/           finished builds; `kernel.json` records the digest of every artefact
    building/KEY.RANDOM/   unfinished builds, renamed to kernels/KEY when finished
    predictions/           points of the timing model (harness/report/prediction.py)
    logs/                  logs of builds that failed
    locks/                 one lock file for each source and key
    uses/                  one lock file for each kernel and module, shared by its users

A folder below sources/ or kernels/ gets its name by a rename when it is complete. A killed build
leaves nothing there, so that no marker is needed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from harness.errors import InfrastructureError, InputError
from harness.files import replace_file, sync_file_system
from harness.locks import free_locks, locked, shared_until_exit
from harness.signals import interrupts_held

# kbuild refuses paths with a space or a colon, which separate entries of LD_PRELOAD; other
# characters are special to make and QEMU.
_PORTABLE = re.compile(r"[\w./+@=~-]")
_REMOVALS = 20
_BETWEEN_REMOVALS_S = 0.1


def cache_folder() -> Path:
    """Return the cache's folder: `VMAPBENCH_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("VMAPBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("vmapbench")


@dataclass(frozen=True)
class Cache:
    """The folders of one cache, created on first use."""

    folder: Path

    def check_path(self) -> None:
        """Raise InputError if kernels cannot be built below a path of this name."""
        path = str(self.folder.absolute())
        if odd := next((sign for sign in path if not _PORTABLE.fullmatch(sign)), None):
            raise InputError(
                f"the build cache {path!r}: kernels cannot be built in a path with {odd!r}\n"
                "  next: set VMAPBENCH_CACHE to a folder without it, such as /var/tmp/vmapbench"
            )

    def place(self, kind: str, name: str) -> Path:
        """Return `folder/kind/name`, and create its parent. Raises InfrastructureError."""
        path = self.folder.absolute() / kind / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InfrastructureError(
                f"cannot write the build cache {self.folder}: {error}\n"
                "  next: set VMAPBENCH_CACHE to a folder with room for 5 GiB"
            ) from error
        return path

    @contextlib.contextmanager
    def lock(self, name: str, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the lock `name`; `on_wait` is called once when another process has it."""
        with locked(self.place("locks", name), on_wait):
            yield

    def hold(self, name: str) -> None:
        """Keep the kernel or module `name` from garbage collection until this process ends.

        Sets the time of its lock file to now. Waits while the entry is being removed.
        """
        path = self.place("uses", name)
        if path not in _HELD:
            _HELD[path] = shared_until_exit(path)
        os.utime(path)

    @contextlib.contextmanager
    def attempt(self, kind: str, name: str) -> Iterator[Path]:
        """Yield a new folder that is renamed to `kind/name` if the block succeeds.

        The caller holds the lock of that name, without which another process would remove the
        folder as that of a dead one (RuntimeError); remains of earlier attempts are removed first.
        """
        target = self.place(kind, name)
        with free_locks(self.place("locks", name)) as free:
            if free:
                raise RuntimeError(f"nobody holds the lock of {name}")
        for leftover in self.place("building", "x").parent.glob(f"{name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self.place("building", "x").parent))
        try:
            folder.chmod(0o755)
            yield folder
            # else a power cut may keep the name and lose contents
            sync_file_system(folder)
            folder.rename(target)
        except OSError as error:
            raise InfrastructureError(f"cannot write the build cache {target}: {error}") from error
        finally:
            with interrupts_held():  # a second Ctrl-C leaves no gigabyte behind
                _remove(folder)

    def remove_dead_attempts(self) -> None:
        """Remove the unfinished attempts of processes that were killed."""
        for folder in (self.folder.absolute() / "building").glob("*"):
            with free_locks(self.place("locks", folder.name.rpartition(".")[0])) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder, retrying while killed programs may still write to it."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_BETWEEN_REMOVALS_S)


# A kernel is used from its build to its last boot, which no block of code spans. So the locks are
# held until the process ends.
_HELD: dict[Path, int] = {}  # file descriptors


def file_digest(path: Path) -> str:
    """Return the sha256 of the file at `path`, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_digest(path: Path, cache: Cache) -> str:
    """Return `file_digest(path)`, read again only if inode, size or times have changed."""
    stat = path.stat()
    identity = [str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino]
    memory = cache.place("digests", hashlib.sha256(str(path).encode()).hexdigest())
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(memory.read_text())
        if known["identity"] == identity:
            return str(known["sha256"])
    digest = file_digest(path)
    replace_file(memory, json.dumps({"identity": identity, "sha256": digest}))
    return digest
