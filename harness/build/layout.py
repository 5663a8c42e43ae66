"""Other layouts of the same code: builds in which it is elsewhere in memory.

The address of a function determines which sets of caches and predictors it shares with others, so
that builds of the same code take different times. Padding before the code of a few files moves all
of the kernel after the first one, and the code under test relative to it.
"""

import hashlib
from pathlib import Path

from harness.errors import KernelBuildError
from harness.files import replacement

STEP = 16  # bytes: the smallest alignment of functions on any architecture
MOST = 255  # steps, so that the offset within a page changes as well
UNDER_TEST = "mm/vmalloc.c"
MOVED = (
    "init/main.c",
    UNDER_TEST,
    "mm/page_alloc.c",
)  # the first is linked early


def padding(layout: int, name: str) -> int:
    """Return the pseudo-random number of bytes before the code of file `name`."""
    digest = hashlib.sha256(f"{layout} {name}".encode()).digest()
    return STEP * (1 + int.from_bytes(digest[:4]) % MOST)


def move_code(tree: Path, layout: int) -> None:
    """Give the code in `tree` layout number `layout`; 0 leaves it unchanged.

    Line numbers do not change, nor what contains them. Raises KernelBuildError if the code under
    test is missing.
    """
    for name in MOVED if layout else ():
        file = tree / name
        if not file.is_file() and name != UNDER_TEST:
            continue
        if not file.is_file() or not file.resolve().is_relative_to(tree.resolve()):
            raise KernelBuildError(f"layout {layout}: this source has no file {name}")
        skip = f".pushsection .text; .skip {padding(layout, name)}, 0xcc; .popsection"
        text = file.read_bytes()
        with replacement(file) as fresh:  # the file may be a hard link to the pristine source
            fresh.write_bytes(f'__asm__("{skip}");\n#line 1\n'.encode() + text)
            fresh.chmod(file.stat().st_mode & 0o777)
