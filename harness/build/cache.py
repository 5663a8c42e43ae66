"""The build cache: where it lies, who may write, and what counts as finished.

    sources/DIGEST/        unpacked sources, never written again
    kernels/KEY/           finished builds; `kernel.json` records the digest of every artefact
    building/KEY.RANDOM/   builds under way, renamed to kernels/KEY when finished
    predictions/           points of the timing model (harness/report/prediction.py)
    logs/                  logs of builds that failed
    locks/                 one lock file for each source and key
    uses/                  one lock file for each kernel and module, shared by who uses it

A folder under sources/ or kernels/ got its name by one rename of complete contents: a killed
build leaves nothing there, and no marker has to be trusted.
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

# kbuild refuses a path with a space or a colon, LD_PRELOAD takes them for separators, and make and
# QEMU give a meaning to more.
_PORTABLE = re.compile(r"[\w./+@=~-]")
_REMOVALS = 20
_BETWEEN_REMOVALS_S = 0.1


def cache_folder() -> Path:
    """Return the cache's folder: `VMAPBENCH_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("VMAPBENCH_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("vmapbench")


@dataclass(frozen=True)
class Cache:
    """The folders of one cache. They come into being on first use."""

    folder: Path

    def check_path(self) -> None:
        """Raise InputError where no kernel can be built in a folder of this name."""
        path = str(self.folder.absolute())
        if odd := next((sign for sign in path if not _PORTABLE.fullmatch(sign)), None):
            raise InputError(
                f"the build cache {path!r}: kernels cannot be built in a path with {odd!r}\n"
                "  next: set VMAPBENCH_CACHE to a folder without it, such as /var/tmp/vmapbench"
            )

    def place(self, kind: str, name: str) -> Path:
        """Return `folder/kind/name`; its parent exists. Raises InfrastructureError."""
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

        The file's time is that of the last use. Waits while the entry is being dropped.
        """
        path = self.place("uses", name)
        if path not in _HELD:
            _HELD[path] = shared_until_exit(path)
        os.utime(path)

    @contextlib.contextmanager
    def attempt(self, kind: str, name: str) -> Iterator[Path]:
        """Give a new folder that becomes `kind/name` when the block ends well, else nothing.

        The caller holds the lock of that name, so earlier attempts at it are dead: they are
        removed first.
        """
        target = self.place(kind, name)
        for leftover in self.place("building", "x").parent.glob(f"{name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self.place("building", "x").parent))
        try:
            folder.chmod(0o755)
            yield folder
            # else a power cut may keep the name and lose the contents, of which nobody checks all
            sync_file_system(folder)
            folder.rename(target)
        except OSError as error:
            raise InfrastructureError(f"cannot write the build cache {target}: {error}") from error
        finally:
            with interrupts_held():  # a second Ctrl-C leaves no gigabyte behind
                _remove(folder)

    def remove_dead_attempts(self) -> None:
        """Remove what processes left that were killed, or whose machine stopped, at an attempt."""
        for folder in self.place("building", "x").parent.iterdir():
            with free_locks(self.place("locks", folder.name.rpartition(".")[0])) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder in which killed programs may be about to end still, writing until then."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_BETWEEN_REMOVALS_S)


# A kernel is used from its build to the last boot, through many hands: no block spans that, the
# process does. The kernel frees the locks with it, however it ends.
_HELD: dict[Path, int] = {}  # file descriptors


def file_digest(path: Path) -> str:
    """Return the sha256 of the file at `path`, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_digest(path: Path, cache: Cache) -> str:
    """Return `file_digest(path)`, read again only when the file's identity has changed."""
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
