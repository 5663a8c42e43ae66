"""Assigns a core of the host to each simulation.

Only one thread of a simulated machine runs at a time, and they alternate about 28 times per pair of
vmalloc and vfree. Waking a thread on another core takes longer than switching on the same core.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from harness.locks import free_locks


@contextlib.contextmanager
def one_core(locks: Path) -> Iterator[int]:
    """Reserve a core of the host that no other simulation of this user has; yield its number.

    `locks`: folder of the lock files. If all cores are reserved, one of them is shared.
    """
    locks.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0), reverse=True)
    with contextlib.ExitStack() as held:
        free = (core for core in cores if held.enter_context(free_locks(locks / f"core-{core}")))
        yield next(free, cores[os.getpid() % len(cores)])
