"""A host's core for each simulation.

Only one thread of a simulated machine runs at a time, and it changes some 28 times for each pair of
vmalloc and vfree. Waking a thread on another core takes longer than switching to it on the same.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def one_core(locks: Path) -> Iterator[int]:
    """Hold a core that no other simulation of this user has, while there is one.

    `locks`: a folder for the locks. Where every core is taken, one of them is shared.
    """
    locks.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0), reverse=True)
    with contextlib.ExitStack() as held:
        streams = (held.enter_context((locks / f"core-{core}").open("a")) for core in cores)
        free = (core for core, stream in zip(cores, streams, strict=False) if _taken(stream))
        yield next(free, cores[os.getpid() % len(cores)])


def _taken(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
