"""Accounts of where an extra boot spent its time. They are separate from the results."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.files import replace_file
from harness.targets.symbols import SLOW_PATHS

FILE = "explanation.json"  # in the folder of the boot
_ROWS = 200
_STACKS = 500
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Text = Annotated[str, Field(max_length=200)]


class _AccountPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LockUse(_AccountPart):
    """Use of a lock by one function; times in ns, summed over all CPUs.

    `lock`: name of its variable, with an offset inside a structure, or `allocated`. `taken`: how
    often it was taken; `timed`: how many of these have times. The wait is from the call to the
    return of the function that takes the lock, the hold from there to the store that releases it.
    Tracing in the kernel gives only `timed` and `wait_ns`, of contended acquisitions.
    """

    lock: _Text
    caller: _Text
    taken: _Count | None = None
    timed: _Count
    wait_ns: _Count
    longest_wait_ns: _Count | None = None
    hold_ns: _Count | None = None
    longest_hold_ns: _Count | None = None

    @property
    def total_ns(self) -> int:
        """Sum of the known wait and hold times in ns."""
        return self.wait_ns + (self.hold_ns or 0)


class FunctionTime(_AccountPart):
    """CPU time in a function without its callees, in ns, summed over all CPUs."""

    function: _Text
    cpu_ns: _Count


class CallTimes(_AccountPart):
    """Percentiles (50, 99, 99.9) and maximum of the duration of calls of a function, in ns.

    `lost`: number of calls whose duration was not recorded, as the histogram was full.
    """

    call: _Text
    calls: _Count
    lost: _Count
    p50: _Count
    p99: _Count
    p999: _Count
    max: _Count


class Stack(_AccountPart):
    """CPU time with a call stack (outermost function first), in ns, summed over all CPUs."""

    functions: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=40)]
    cpu_ns: _Count


class BootAccount(_AccountPart):
    """Where the measured load of an extra boot spent its time.

    `clock`: name of the clock of all times; `note`: sentences on how they were obtained and their
    limits. `spin_ns`: CPU time in the slow paths of spin locks, which `functions` leaves out.
    `load_ns`: duration of the load, as in samples.
    """

    version: Annotated[int, Field(ge=1, le=1)] = 1
    kernel: _Text = ""
    workload: _Text = ""
    cpus: _Count = 0
    nr_threads: _Count = 0
    load_ns: _Count | None = None
    clock: _Text
    note: Annotated[str, Field(max_length=600)] = ""
    spin_ns: _Count
    locks: tuple[LockUse, ...]
    functions: tuple[FunctionTime, ...]
    calls: tuple[CallTimes, ...] = ()
    stacks: tuple[Stack, ...] = ()

    @property
    def spin_share(self) -> float | None:
        """Return the share (0 to 1) of CPU time in slow paths of spin locks; None without any."""
        whole = self.spin_ns + sum(row.cpu_ns for row in self.functions)
        return self.spin_ns / whole if whole else None


def spent_by_stack(stacks: Mapping[tuple[str, ...], int], ns: float) -> dict[str, Any]:
    """Return `spin_ns`, `functions` and `stacks` of a BootAccount from samples of stacks.

    `stacks`: call stack (outermost function first) -> number of samples, of `ns` each.
    """
    own: Counter[str] = Counter()
    for functions, hits in stacks.items():
        own[functions[-1]] += hits
    spin = sum(own.pop(name, 0) for name in SLOW_PATHS)
    return {
        "spin_ns": round(spin * ns),
        "functions": tuple(
            FunctionTime(function=name, cpu_ns=round(hits * ns)) for name, hits in own.items()
        ),
        "stacks": tuple(
            Stack(functions=functions, cpu_ns=round(hits * ns))
            for functions, hits in stacks.items()
        ),
    }


def write_explanation(file: Path, explanation: BootAccount) -> None:
    """Write an account as JSON, limited to its largest locks, functions and stacks."""
    kept = explanation.model_copy(
        update={
            "locks": tuple(sorted(explanation.locks, key=lambda use: -use.total_ns)[:_ROWS]),
            "functions": tuple(sorted(explanation.functions, key=lambda row: -row.cpu_ns)[:_ROWS]),
            "stacks": tuple(sorted(explanation.stacks, key=lambda row: -row.cpu_ns)[:_STACKS]),
        }
    )
    replace_file(file, kept.model_dump_json(indent=1) + "\n")


def read_explanation(file: Path) -> BootAccount | None:
    """Return the account in a file; None if the file is missing or invalid."""
    try:
        return BootAccount.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
