"""Summarises the readings of memory over boots."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis.means import means_over_boots

UNUSABLE = "unusable for a huge page"
_HUGE_ORDER = 9  # of a 2 MiB page with 4 KiB pages, for readings without it
_UNITS = {"meminfo_kib": "KiB", "pageblocks": "blocks"}  # of groups whose values are used as read
COLUMNS = [
    *("workload", "cpus", "nr_threads", "kernel", "moment", "group", "what", "unit"),
    *("mean", "low", "high", "boots"),
]


class BootMemory(NamedTuple):
    """The readings of a boot, from `harness.guest.memory`."""

    workload: str
    cpus: int
    nr_threads: int
    kernel: str
    readings: Iterable[Mapping[str, Any]]


def memory_rows(boots: Iterable[BootMemory]) -> pd.DataFrame:
    """Return a frame with a row per kernel, moment and quantity; columns `COLUMNS`.

    `group`: meminfo_kib, free_pages (`what`: order of the free blocks), free_pages_by_type,
    pageblocks, vmstat (pages for nr_*, else events since boot), or fragmentation: share of free
    pages in blocks too small for a huge page (Gorman's unusable free space index, 2005). `low`,
    `high`: 95 % interval of the mean by Student's t over boots, missing for one boot.
    """
    key = COLUMNS[:8]
    values = [
        (boot.workload, boot.cpus, boot.nr_threads, boot.kernel, reading["moment"], *quantity)
        for boot in boots
        for reading in boot.readings
        for quantity in _quantities(reading)
    ]
    frame = pd.DataFrame(values, columns=[*key, "value"])
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    return means_over_boots(frame, key)[COLUMNS]


def _quantities(reading: Mapping[str, Any]) -> Iterator[tuple[str, str, str, float]]:
    """Yield group, what, unit and value of each quantity in a reading."""
    for group, unit in _UNITS.items():
        for name, value in (reading.get(group) or {}).items():
            yield group, name, unit, value
    for name, value in (reading.get("vmstat") or {}).items():
        yield "vmstat", name, "pages" if name.startswith("nr_") else "events", value
    blocks = reading.get("free_blocks") or []
    pages = [count << order for order, count in enumerate(blocks)]
    for order, value in enumerate(pages):
        yield "free_pages", str(order), "pages", value
    for kind, counts in (reading.get("free_blocks_by_type") or {}).items():
        for order, count in enumerate(counts):
            yield "free_pages_by_type", f"{kind} {order}", "pages", count << order
    huge = reading.get("pageblock_order") or _HUGE_ORDER
    if sum(pages) and huge < len(pages):
        yield "fragmentation", UNUSABLE, "share", 1 - sum(pages[huge:]) / sum(pages)
