"""Parsers of the guest's memory statistics in /proc. Strict: the content is untrusted. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import InputError
from harness.guest.frames import parse_meminfo

_ORDERS = 32  # more columns than any configuration has
_COUNT = r"[0-9]{1,15}"
_NODE = r"Node +[0-9]{1,5}, zone +(?P<zone>\w{1,20})"
_ROW = re.compile(rf"{_NODE}(?P<counts>(?: +{_COUNT})+) *")
_FREE = re.compile(rf"{_NODE}, type +(?P<type>\w{{1,30}})(?P<counts>(?: +>?{_COUNT})+) *")
_ORDER = re.compile(r"Page block order: ([0-9]{1,2})")
_TYPES = re.compile(r"Number of blocks type (?P<types>(?: +\w{1,30})+) *")
_COUNTER = re.compile(rf"(\w{{1,60}}) ({_COUNT})")
# Compaction, vmalloc, page tables, slabs, and allocations that waited for reclaim.
_KEPT = re.compile(r"compact_|nr_vmalloc|nr_page_table_pages|nr_slab_|allocstall|pgmigrate_")


def parse_buddyinfo(text: str) -> list[int]:
    """Return the number of free blocks of 2^order pages, indexed by order, summed over all zones.

    Raises InputError if the text has not the format of frag_show_print() in mm/vmstat.c.
    """
    rows = [_counts(line, _match(_ROW, line, "buddyinfo")["counts"]) for line in _lines(text)]
    return _summed(rows, "buddyinfo")


def parse_pagetypeinfo(text: str) -> dict[str, Any]:
    """Return `free_blocks_by_type` (migrate type -> free blocks by order), `pageblocks` (migrate
    type -> count) and `pageblock_order`, if the text has it.

    The kernel stops counting a list at 100,000 and prints ">100000", which becomes 100000.
    Raises InputError if the text has not the format of pagetypeinfo_show() in mm/vmstat.c.
    """
    free: dict[str, list[list[int]]] = {}
    blocks: dict[str, int] = {}
    types: list[str] = []
    order: dict[str, int] = {}
    for line in _lines(text):
        if line.startswith(("Pages per block: ", "Free pages count per ")):
            continue
        if found := _ORDER.fullmatch(line):
            order = {"pageblock_order": int(found[1])}
            continue
        if head := _TYPES.fullmatch(line):
            types = head["types"].split()
        elif types:
            counts = _counts(line, _match(_ROW, line, "pagetypeinfo")["counts"])
            if len(counts) != len(types):
                raise _refusal("pagetypeinfo", line)
            for name, count in zip(types, counts, strict=True):
                blocks[name] = blocks.get(name, 0) + count
        else:
            found = _match(_FREE, line, "pagetypeinfo")
            row = _counts(line, found["counts"].replace(">", ""))
            free.setdefault(found["type"], []).append(row)
    _summed(
        [row for rows in free.values() for row in rows], "pagetypeinfo"
    )  # all have the same length
    by_type = {name: _summed(rows, "pagetypeinfo") for name, rows in free.items()}
    return {"free_blocks_by_type": by_type, "pageblocks": blocks, **order}


def parse_vmstat(text: str) -> dict[str, int]:
    """Return the recorded counters of /proc/vmstat, by name. Raises InputError if malformed."""
    pairs = (_match(_COUNTER, line, "vmstat").groups() for line in _lines(text))
    return {name: int(value) for name, value in pairs if _KEPT.match(name)}


FILES: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "/proc/meminfo": lambda text: {"meminfo_kib": parse_meminfo(text)},
    "/proc/buddyinfo": lambda text: {"free_blocks": parse_buddyinfo(text)},
    "/proc/pagetypeinfo": parse_pagetypeinfo,
    "/proc/vmstat": lambda text: {"vmstat": parse_vmstat(text)},
}
"""The files that are read at each moment, with the function that parses each into a reading."""


UNFRAGMENTED = "unfragmented"
"""Name of the reading before memory is fragmented, for workloads with `fragment`."""


def add_file(reading: dict[str, Any], path: str, text: str) -> str:
    """Parse the file `path` of `FILES` and add it to a reading; return the error message, or ""."""
    try:
        reading |= FILES[path](text)
    except InputError as error:
        return str(error)
    return ""


def moments(loads: int) -> list[str]:
    """Return the names of the readings of a boot: before, after each of its `loads`, at rest."""
    after = ["after"] if loads == 1 else [f"after load {n}" for n in range(1, loads + 1)]
    return ["before", *after, "at rest"]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _match(pattern: re.Pattern[str], line: str, what: str) -> re.Match[str]:
    found = pattern.fullmatch(line)
    if found is None:
        raise _refusal(what, line)
    return found


def _refusal(what: str, line: str) -> InputError:
    return InputError(f"/proc/{what}: unknown format of line {line[:120]!r}")


def _counts(line: str, columns: str) -> list[int]:
    counts = [int(word) for word in columns.split()]
    if len(counts) > _ORDERS:
        raise InputError(f"more than {_ORDERS} columns of counts: {line[:120]!r}")
    return counts


def _summed(rows: list[list[int]], what: str) -> list[int]:
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise InputError(f"/proc/{what}: no rows, or rows of different lengths")
    return [sum(column) for column in zip(*rows, strict=True)]
