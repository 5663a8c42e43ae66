"""What an extra boot says of where its time went: kept beside the results, never among them."""

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
    """One lock as one function takes it; times in ns, summed over all CPUs.

    `lock`: its variable, with an offset where it is part of one, or `allocated`. `taken`: how
    often; `timed`: how many of these have times. Waiting is from the call to the return of the
    function that takes the lock, holding from there to the store that frees it. A kernel that
    traces itself knows of waits only: it has `timed` and `wait_ns`, from where it begins to wait.
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
        """Waiting and holding together, as far as known."""
        return self.wait_ns + (self.hold_ns or 0)


class FunctionTime(_AccountPart):
    """CPU time in a function itself, in ns, summed over all CPUs that were not idle."""

    function: _Text
    cpu_ns: _Count


class CallTimes(_AccountPart):
    """The times in ns that 50, 99, 99.9 and 100 % of the calls of one kind did not exceed.

    `lost`: calls whose times found no room.
    """

    call: _Text
    calls: _Count
    lost: _Count
    p50: _Count
    p99: _Count
    p999: _Count
    max: _Count


class Stack(_AccountPart):
    """CPU time with one stack of functions, the outermost first, in ns, summed over all CPUs."""

    functions: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=40)]
    cpu_ns: _Count


class BootAccount(_AccountPart):
    """What the measured load of one extra boot spent its time on.

    `clock`: of the times; `note`: sentences on what was seen, and how. `spin_ns`: the slow paths of
    spin locks, which are left out of `functions`. `load_ns`: what the load took, as of samples.
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
        """Slow paths of spin locks as a share of CPU time; None where no CPU time was seen."""
        whole = self.spin_ns + sum(row.cpu_ns for row in self.functions)
        return self.spin_ns / whole if whole else None


def spent_by_stack(stacks: Mapping[tuple[str, ...], int], ns: float) -> dict[str, Any]:
    """Return `spin_ns`, `functions` and `stacks` of a BootAccount from samples of stacks.

    `stacks`: how many samples found each, the outermost function first; each stands for `ns`.
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
    """Write it with its largest rows."""
    kept = explanation.model_copy(
        update={
            "locks": tuple(sorted(explanation.locks, key=lambda use: -use.total_ns)[:_ROWS]),
            "functions": tuple(sorted(explanation.functions, key=lambda row: -row.cpu_ns)[:_ROWS]),
            "stacks": tuple(sorted(explanation.stacks, key=lambda row: -row.cpu_ns)[:_STACKS]),
        }
    )
    replace_file(file, kept.model_dump_json(indent=1) + "\n")


def read_explanation(file: Path) -> BootAccount | None:
    """Return what a file says; None where there is none or it has another form."""
    try:
        return BootAccount.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
