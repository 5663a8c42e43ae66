"""The tables of the section that explains why kernels differ: locks, calls, functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.run.explain import FOLDER
from harness.targets.explanation import BootAccount, CallTimes, LockUse, read_explanation
from harness.verdict import Verdict

_ROWS = 15
_LEAST = 0.001  # share of all CPU time below which a row is left out
_LOCK_COLUMNS = (
    ("taken", "taken", 1, "%d"),
    ("timed", "timed", 1, "%d"),
    ("waiting, ms", "wait_ns", 1e6, "%.3f"),
    ("longest, µs", "longest_wait_ns", 1e3, "%.2f"),
    ("holding, ms", "hold_ns", 1e6, "%.3f"),
    ("longest, µs", "longest_hold_ns", 1e3, "%.2f"),
)
UNITS = {
    **dict.fromkeys(("wait_ns", "longest_wait_ns", "hold_ns", "longest_hold_ns"), "ns"),
    **dict.fromkeys(("cpu_ns", "spin_ns", "load_ns", "change"), "ns"),
    **dict.fromkeys(("p50", "p99", "p999", "max"), "ns"),
    **dict.fromkeys(("taken", "timed", "calls", "lost", "spin_share", "cost"), "1"),
}


@dataclass(frozen=True)
class FunctionRow:
    """CPU time of a function on each kernel, in ns.

    `change`: largest difference to the baseline; `new`: whether the baseline lacks it.
    """

    function: str
    cpu_ns: Mapping[str, int]
    change: int
    new: bool


@dataclass(frozen=True)
class LockRow:
    """Use of a lock by a function on each kernel. `change`: as in `FunctionRow`."""

    lock: str
    caller: str
    uses: Mapping[str, LockUse]
    change: int


def load_explanations(folder: Path, kernels: Iterable[str]) -> dict[str, BootAccount]:
    """Return kernel -> account of its extra boot, of the run in `folder`, in the order given."""
    read = {name: read_explanation(folder / FOLDER / f"{name}.json") for name in kernels}
    return {name: found for name, found in read.items() if found}


def function_rows(found: Mapping[str, BootAccount]) -> list[FunctionRow]:
    """Return the functions whose time differs most from the first kernel's, largest first."""
    times = {
        kernel: {row.function: row.cpu_ns for row in each.functions}
        for kernel, each in found.items()
    }
    least = _LEAST * max((sum(each.values()) for each in times.values()), default=0)
    rows = []
    for name in dict.fromkeys(name for each in times.values() for name in each):
        values = {kernel: each.get(name, 0) for kernel, each in times.items()}
        if max(values.values()) >= least:
            change = _change(list(values.values()))
            first, *others = values.values()
            rows.append(FunctionRow(name, values, change, not first and any(others)))
    return sorted(rows, key=lambda row: (-abs(row.change), row.function))[:_ROWS]


def lock_columns(found: Mapping[str, BootAccount]) -> list[tuple[str, str, float, str]]:
    """Return the columns of locks with data: title, field of `LockUse`, unit in ns, format."""
    uses = [use for each in found.values() for use in each.locks]
    return [row for row in _LOCK_COLUMNS if any(getattr(u, row[1]) is not None for u in uses)]


def call_rows(found: Mapping[str, BootAccount]) -> list[tuple[str, CallTimes]]:
    """Return (kernel, latencies), grouped by call."""
    rows = [(kernel, times) for kernel, each in found.items() for times in each.calls]
    order = list(dict.fromkeys(times.call for _, times in rows))
    return sorted(rows, key=lambda row: order.index(row[1].call))


def lock_rows(found: Mapping[str, BootAccount]) -> list[LockRow]:
    """Return the locks whose wait and hold times differ most from the first kernel's."""
    uses = {
        kernel: {(use.lock, use.caller): use for use in each.locks}
        for kernel, each in found.items()
    }
    rows = []
    for key in dict.fromkeys(key for each in uses.values() for key in each):
        those = {kernel: each[key] for kernel, each in uses.items() if key in each}
        times = [those[k].total_ns if k in those else 0 for k in uses]
        rows.append(LockRow(*key, those, _change(times)))
    return sorted(rows, key=lambda row: (-abs(row.change), row.lock, row.caller))[:_ROWS]


def _change(values: Sequence[int]) -> int:
    """Return the largest difference to the first value, or a single value itself."""
    return max((value - values[0] for value in values[1:]), key=abs, default=values[0])


def probe_costs(found: Mapping[str, BootAccount], boots: pd.DataFrame) -> dict[str, float]:
    """Return by kernel how many times as long as its samples' median the explained load took.

    `boots`: of the run (`harness.analysis.frames.BOOTS`). Kernels without times are left out.
    """
    passed = boots[(boots["verdict"] == Verdict.PASSED.value) & boots["load_ns"].notna()]
    costs = {}
    for kernel, each in found.items():
        alike = (passed["kernel"] == kernel) & (passed["workload"] == each.workload)
        alike &= (passed["cpus"] == each.cpus) & (passed["nr_threads"] == each.nr_threads)
        if each.load_ns and alike.any():
            median_ns = float(passed[alike]["load_ns"].astype("float64").median())
            costs[kernel] = each.load_ns / max(median_ns, 1.0)
    return costs


def explanation_document(
    found: Mapping[str, BootAccount], boots: pd.DataFrame
) -> dict[str, Any] | None:
    """Return the accounts as JSON values for results.json; None if there are none."""
    if not found:
        return None
    return {
        "units": UNITS,
        "kernels": {name: each.model_dump(mode="json") for name, each in found.items()},
        "spin_share": {name: each.spin_share for name, each in found.items()},
        "cost": probe_costs(found, boots),
        "functions": [asdict(row) for row in function_rows(found)],
    }
