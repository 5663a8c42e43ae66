"""Reads the profile of a boot in virtual time, from the files that the plugin writes.

For each part of the boot, between two marks of the guest, there are `profile-N.txt` (program
counter, ticks) and `waits-N.txt` (program counter of the PAUSE, up to three return addresses,
ticks); `counts.txt` has a line for each mark. With `window_ms`, `windows.txt` has the same for each
window of virtual time.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.targets.symbols import SLOW_PATHS, USER, Symbols, parse_system_map

_LOCK = re.compile(r"^(_raw_(spin|read|write)_|native_queued_spin|queued_|__pv_queued)")


def parse_table(text: str) -> list[tuple[tuple[int, ...], int]]:
    """Return the lines of a table as (addresses other than 0, ticks)."""
    rows = []
    for line in text.splitlines():
        *addresses, ticks = line.split()
        rows.append((tuple(a for a in (int(word, 16) for word in addresses) if a), int(ticks)))
    return rows


def parse_counts(text: str) -> list[dict[str, int]]:
    """Return a dict for each mark: `mark`, `virtual_ns`, `host_ms` and cumulative counts."""
    return [
        {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", line)}
        for line in text.splitlines()
    ]


@dataclass(frozen=True)
class Window:
    """A window of virtual time: samples and waits in it as (addresses, ticks)."""

    until_ns: int
    executed: tuple[int, ...]  # executions of each counted instruction since the start
    samples: tuple[tuple[tuple[int, ...], int], ...]
    waits: tuple[tuple[tuple[int, ...], int], ...]
    sites: tuple[tuple[int, int], ...] = ()  # of each: calls, and ns that threads were at it


def parse_windows(text: str) -> list[Window]:
    """Return the windows of a windows.txt in order."""
    windows = []
    for stretch in re.split(r"^window ", text, flags=re.MULTILINE)[1:]:
        head, _, rest = stretch.partition("\n")
        until_ns, *executed = map(int, head.split())
        rows = {
            kind: tuple(parse_table("\n".join(re.findall(rf"^{kind} (.*)", rest, re.MULTILINE))))
            for kind in "sw"
        }
        sites = re.findall(r"^c \w+ (\d+) (\d+)$", rest, re.MULTILINE)
        visits = tuple((int(calls), int(ns)) for calls, ns in sites)
        windows.append(Window(until_ns, tuple(executed), rows["s"], rows["w"], visits))
    return windows


def shares(samples: Iterable[tuple[tuple[int, ...], int]], symbols: Symbols) -> dict[str, float]:
    """Return function -> self time, as a share of the CPU time that was not idle."""
    ticks: Counter[str] = Counter()
    for addresses, count in samples:
        ticks[symbols.name_of(addresses[0]) if addresses else USER] += count
    whole = sum(ticks.values())
    return {name: count / whole for name, count in ticks.most_common()} if whole else {}


def lock_waits(
    waits: Iterable[tuple[tuple[int, ...], int]], symbols: Symbols, whole_ticks: int
) -> dict[str, float]:
    """Return function -> time that it waited for a lock, as a share of `whole_ticks`."""
    ticks: Counter[str] = Counter()
    for addresses, count in waits:
        names = [symbols.name_of(address) for address in addresses]
        takers = [name for name in names if not _LOCK.match(name)]
        ticks[takers[0] if takers else "?"] += count
    return {n: count / whole_ticks for n, count in ticks.most_common()} if whole_ticks else {}


def profile_of_boot(folder: Path, part: int, system_map: Path) -> Mapping[str, Any] | None:
    """Return the profile of part `part` of the boot in `folder`; None if the part did not end."""
    samples, waits = folder / f"profile-{part}.txt", folder / f"waits-{part}.txt"
    counts = folder / "counts.txt"
    if not (samples.is_file() and waits.is_file() and counts.is_file()):
        return None
    symbols = parse_system_map(system_map.read_text(encoding="ascii", errors="replace"))
    rows = parse_table(samples.read_text(encoding="ascii"))
    whole = sum(ticks for _, ticks in rows)
    marks = parse_counts(counts.read_text(encoding="ascii"))
    by_function = shares(rows, symbols)
    return {
        "version": 1,
        "spin_share": sum(by_function.get(name, 0.0) for name in SLOW_PATHS),
        "self": {name: round(share, 5) for name, share in by_function.items() if share >= 0.0005},
        "waiting_for_lock_taken_in": {
            name: round(share, 5)
            for name, share in lock_waits(
                parse_table(waits.read_text(encoding="ascii")), symbols, whole
            ).items()
            if share >= 0.0005
        },
        "counts": {
            name: marks[part][name] - marks[part - 1][name]
            for name in marks[part]
            if name != "mark"
        },
    }
