"""What an extra boot says of where its time went: kept beside the results, never among them."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.files import replace_file

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
    function that takes the lock, holding from there to the store that frees it.
    """

    lock: _Text
    caller: _Text
    taken: _Count
    timed: _Count
    wait_ns: _Count
    longest_wait_ns: _Count
    hold_ns: _Count
    longest_hold_ns: _Count


class FunctionTime(_AccountPart):
    """CPU time in a function itself, in ns, summed over all CPUs that were not idle."""

    function: _Text
    cpu_ns: _Count


class Stack(_AccountPart):
    """CPU time with one stack of functions, the outermost first, in ns, summed over all CPUs."""

    functions: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=40)]
    cpu_ns: _Count


class BootAccount(_AccountPart):
    """What the measured load of one extra boot spent its time on.

    `spin_ns`: of `functions`, the slow paths of spin locks, which are left out of them.
    """

    version: Annotated[int, Field(ge=1, le=1)] = 1
    kernel: _Text = ""
    workload: _Text = ""
    cpus: _Count = 0
    nr_threads: _Count = 0
    clock: _Text
    spin_ns: _Count
    locks: tuple[LockUse, ...]
    functions: tuple[FunctionTime, ...]
    stacks: tuple[Stack, ...] = ()


def write_explanation(file: Path, explanation: BootAccount) -> None:
    """Write it with its largest rows."""
    kept = explanation.model_copy(
        update={
            "locks": tuple(
                sorted(explanation.locks, key=lambda use: -use.wait_ns - use.hold_ns)[:_ROWS]
            ),
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
