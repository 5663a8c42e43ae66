"""Other layouts of the same code: a build in which it lies elsewhere in memory.

Where a function lies decides which sets of caches and predictors it shares with others, so that
builds of the same code take different times. Here padding goes before the code of a few files: all
of the kernel behind the first one moves, and the code under test moves against it.
"""

import hashlib
from pathlib import Path

from harness.errors import KernelBuildError
from harness.files import replacement

STEP = 16  # bytes: the least alignment of a function on any architecture
MOST = 255  # steps, so that also the place within a page changes
UNDER_TEST = "mm/vmalloc.c"
MOVED = ("init/main.c", UNDER_TEST, "mm/page_alloc.c")  # the first is linked before nearly all


def padding(layout: int, name: str) -> int:
    """Return the bytes before the code of file `name`: as good as random, always the same."""
    digest = hashlib.sha256(f"{layout} {name}".encode()).digest()
    return STEP * (1 + int.from_bytes(digest[:4]) % MOST)


def move_code(tree: Path, layout: int) -> None:
    """Give the code in `tree` layout number `layout`; 0 is the one that it has anyway.

    No line changes its number: warnings and the tables made of them stay as they are. Raises
    KernelBuildError where the code under test is not there.
    """
    for name in MOVED if layout else ():
        file = tree / name
        if not file.is_file() and name != UNDER_TEST:
            continue
        if not file.is_file() or not file.resolve().is_relative_to(tree.resolve()):
            raise KernelBuildError(f"layout {layout}: {name} is no file of this source")
        skip = f".pushsection .text; .skip {padding(layout, name)}, 0xcc; .popsection"
        text = file.read_bytes()
        with replacement(file) as fresh:  # what it was may be a link into the pristine source
            fresh.write_bytes(f'__asm__("{skip}");\n#line 1\n'.encode() + text)
            fresh.chmod(file.stat().st_mode & 0o777)
