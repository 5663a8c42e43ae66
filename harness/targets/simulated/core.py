"""Assigns a core of the host to each simulation.

Only one thread of a simulated machine runs at a time, and it changes some 28 times for each pair of
vmalloc and vfree. Waking a thread on another core takes longer than switching to it on the same.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from harness.locks import free_locks


@contextlib.contextmanager
def one_core(locks: Path) -> Iterator[int]:
    """Hold a core that no other simulation of this user has, while there is one.

    `locks`: a folder for the locks. Where every core is taken, one of them is shared.
    """
    locks.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0), reverse=True)
    with contextlib.ExitStack() as held:
        free = (core for core in cores if held.enter_context(free_locks(locks / f"core-{core}")))
        yield next(free, cores[os.getpid() % len(cores)])
