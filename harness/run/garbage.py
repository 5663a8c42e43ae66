"""Removes what can be made again if it is old or exceeds a disk budget; never raw samples.

These are built kernels and modules, remains of killed builds, logs of failed builds, and of each
run its page and console logs. The store, `results.json`, `samples.csv`, playbooks, configurations
and patches are kept, and so is whatever a process has locked.
"""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache
from harness.build.record import RECORD
from harness.errors import InfrastructureError
from harness.locks import free_locks

_TRASH = ".dropped-"  # prefix of the name of a folder that is being removed


@dataclass(frozen=True)
class Item:
    """Something that can be made again. `used_at`: seconds since the epoch.

    `locks`: lock files that its users hold. `leftover`: from a killed process. `frees`: bytes on
    disk that nothing else uses (trees share files by hard links).
    """

    kind: str
    name: str
    path: Path
    frees: int
    used_at: float
    locks: tuple[Path, ...] = ()
    leftover: bool = False


@dataclass(frozen=True)
class Choice:
    """An item to remove, and the reason."""

    item: Item
    reason: str


def find_items(cache: Cache, reports: Path) -> list[Item]:
    """Return all removable items, in use or not, the least recently used first."""
    of_cache = [*_builds(cache), *_dead_builds(cache), *_build_logs(cache), *_predictions(cache)]
    items = [*of_cache, *_of_runs(reports)]
    return sorted(items, key=lambda item: (not item.leftover, item.used_at, str(item.path)))


def choose(
    items: Iterable[Item], now: float, oldest_s: float, used: int, budget: int | None
) -> list[Choice]:
    """Return what to remove: leftovers, items unused for `oldest_s`, then the oldest until it fits.

    `items`: the oldest first. `used`: bytes in all, samples included; `budget`: bytes, or no limit.
    """
    chosen = []
    for item in items:
        over = budget is not None and used > budget
        if item.leftover:
            reason = "left over"
        elif now - item.used_at > oldest_s:
            reason = "old"
        elif over:
            reason = "over the budget"
        else:
            continue
        chosen.append(Choice(item, reason))
        used -= item.frees
    return chosen


def in_use(item: Item) -> bool:
    """Return whether a process holds the item, without creating lock files."""
    with free_locks(*(lock for lock in item.locks if lock.exists())) as free:
        return not free


def drop(item: Item, remove: Callable[[Path], object] = shutil.rmtree) -> bool:
    """Remove the item unless a process uses it; return whether it was removed.

    It is renamed first, so that nothing incomplete remains in its place; after an interruption the
    next call removes the rest. `remove` deletes a folder. Raises InfrastructureError.
    """
    with free_locks(*item.locks) as free:
        if not free:
            return False
        try:
            _remove(item.path, remove)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise InfrastructureError(
                f"dropping {item.path}: {error.strerror}\n"
                "  next: remove it as its owner, then run gc again"
            ) from error
    return True


def disk_use(*folders: Path) -> int:
    """Return the bytes on disk below the folders; a file with several names counts once."""
    sizes = {inode: blocks for folder in folders for inode, _, blocks in _files(folder)}
    return sum(sizes.values())


def frees(path: Path) -> int:
    """Return the bytes on disk that removing `path` gives back."""
    names: dict[tuple[int, int], int] = {}
    total = 0
    for inode, links, blocks in _files(path):
        names[inode] = names.get(inode, 0) + 1
        total += blocks if names[inode] == links else 0
    return total


def _remove(path: Path, remove: Callable[[Path], object]) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    if not path.name.startswith(_TRASH):
        path = path.rename(path.with_name(f"{_TRASH}{path.name}-{secrets.token_hex(4)}"))
    remove(path)


def _builds(cache: Cache) -> Iterator[Item]:
    for kind in ("kernels", "modules"):
        for path in _entries(cache.folder / kind):
            locks = _build_locks(cache, path.name)
            yield _item(kind.removesuffix("s"), path, *locks, name=_build_name(path))


def _build_name(path: Path) -> str:
    """Return the name of a build's kernel, if known, and the start of its key."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        spec = json.loads((path / RECORD).read_text(encoding="utf-8"))["spec"]
        return f"{spec['name']} {path.name[:12]}"
    return path.name


def _build_locks(cache: Cache, name: str) -> tuple[Path, Path]:
    return cache.place("uses", name), cache.place("locks", name)


def _dead_builds(cache: Cache) -> Iterator[Item]:
    """Yield unfinished builds; those that are not locked are leftovers."""
    for path in _entries(cache.folder / "building"):
        lock = cache.place("locks", path.name.rpartition(".")[0])
        with free_locks(lock) as free:
            dead = free
        if dead:
            yield _item("unfinished build", path, lock, leftover=True)


def _build_logs(cache: Cache) -> Iterator[Item]:
    yield from (_item("build log", path) for path in _entries(cache.folder / "logs"))


def _predictions(cache: Cache) -> Iterator[Item]:
    yield from (_item("prediction", path) for path in _entries(cache.folder / "predictions"))


def _of_runs(reports: Path) -> Iterator[Item]:
    for folder in _entries(reports):
        if folder.is_symlink() or not (folder / "playbook.yaml").is_file():
            continue  # `latest`, or nothing of ours
        lock = folder / ".lock"
        locks = (lock,) if lock.exists() else ()
        for kind, name in (("logs", "logs"), ("page", "index.html")):
            if (folder / name).exists():
                yield _item(kind, folder / name, *locks, name=folder.name)
        for rest in folder.glob(f"{_TRASH}*"):
            yield _item("logs", rest, *locks, name=folder.name, leftover=True)


def _item(kind: str, path: Path, *locks: Path, name: str = "", leftover: bool = False) -> Item:
    leftover = leftover or path.name.startswith(_TRASH)
    used_at = max((_changed_at(file) for file in (path, *locks[:1])), default=0.0)
    return Item(kind, name or path.name, path, frees(path), used_at, locks, leftover)


def _changed_at(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime
    return 0.0


def _entries(folder: Path) -> Sequence[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return ()


def _files(path: Path) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Yield (device, inode), number of names and bytes on disk of each file at or below `path`."""
    names = (os.path.join(top, name) for top, _, files in os.walk(path) for name in files)  # noqa: PTH118 a tree has 90,000 files
    for name in names if path.is_dir() and not path.is_symlink() else (str(path),):
        with contextlib.suppress(OSError):  # gone in the meantime
            stat = os.lstat(name)
            yield (stat.st_dev, stat.st_ino), stat.st_nlink, stat.st_blocks * 512


def collect(
    chosen: Iterable[Choice], dry_run: bool, notify: Callable[[Choice, bool], None]
) -> None:
    """Remove the chosen items; `notify` gets each, and whether it was or would be removed."""
    for choice in chosen:
        notify(choice, not in_use(choice.item) if dry_run else drop(choice.item))
