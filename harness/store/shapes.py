"""Validates the JSON columns: the keys that the harness reads, and their types.

A store may come from someone else, so records are validated when they are read, before they reach
a page, table or export. Other keys are passed through and only shown.
"""

import datetime as dt
import json
from typing import Annotated, Any

import numpy as np
from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import StoreError
from harness.text import one_line

_WHOLE_LIMIT = 2**63

_REAL_LIMIT = 1e15  # seconds: more than any boot takes
_LOWEST = {"cpus": 1, "nr_threads": 1, "xfailed": -1}  # -1 represents NULL

_Whole = Annotated[int, Field(ge=-_WHOLE_LIMIT, lt=_WHOLE_LIMIT)]
_Count = Annotated[int, Field(ge=0, lt=_WHOLE_LIMIT)]
_Finite = Annotated[float, AllowInfNan(False), Field(ge=-1e300, le=1e300)]
_Share = Annotated[float, AllowInfNan(False), Field(gt=0, lt=1)]
_Words = dict[str, str]
_Program = Annotated[tuple[str, _Finite], Field(strict=False)]  # JSON has lists instead of tuples


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Target(_Shape):
    kind: str
    machine: str | None = None
    host: str | None = None
    boot_parameters: list[str] | None = None


class Plan(_Shape):
    """The validated playbook of a run."""

    baseline: str
    kernels: list[str]
    target: _Target
    name: str | None = None
    question: str | None = None
    seed: _Count
    repeats: _Count | None = None
    design: str | None = None
    smallest_effect: _Share | None = None


class Host(_Shape):
    """The machine that measured."""

    id: str | None = None
    cpu: str | None = None
    cores: _Count | None = None
    mitigations: _Words | None = None


class KernelFacts(_Shape):
    """Source, configuration and compiler of a kernel."""

    key: str | None = None
    release: str | None = None
    architecture: str | None = None
    summary: str | None = None
    label: str | None = None
    line: str | None = None
    compiler: str | None = None
    critical: _Words | None = None
    features: _Words | None = None
    source: dict[str, Any] | None = None
    boot_parameters: list[str] | None = None
    patches: list[str] | None = None
    fragments: list[str] | None = None


class _Machine(_Shape):
    kind: str | None = None
    accelerator: str | None = None
    clock: str | None = None
    kvm: str | None = None


class _NoiseFacts(_Shape):
    other_share: _Finite | None = None
    steal_share: _Finite | None = None
    programs: list[_Program] | None = None


class _Finding(_Shape):
    name: str
    severity: str
    excerpt: str | None = None
    line: _Count | None = None


class _Memory(_Shape):
    moment: str
    meminfo_kib: dict[str, _Count] | None = None
    free_blocks: list[_Count] | None = None
    free_blocks_by_type: dict[str, list[_Count]] | None = None
    pageblocks: dict[str, _Count] | None = None
    pageblock_order: _Count | None = None
    vmstat: dict[str, _Count] | None = None


class _Latency(_Shape):
    case: str
    call: str
    calls: _Count
    p50: _Count
    p99: _Count
    p999: _Count
    max: _Count


class BootFacts(_Shape):
    """What the harness and the guest recorded of a boot."""

    argv: list[str] | None = None
    machine: _Machine | None = None
    noise: _NoiseFacts | None = None
    findings: list[_Finding] | None = None
    memory: list[_Memory] | None = None
    latency_ns: list[_Latency] | None = None
    conditions: _Words | None = None
    stack: _Words | None = None
    inventory_changes: list[str] | None = None
    vmap_nodes: _Count | None = None
    cpus: str | _Count | None = None
    last_line: str | None = None
    release: str | None = None
    reached_init: bool | None = None
    host_cores: _Count | None = None


PLAN = TypeAdapter(Plan)
HOST = TypeAdapter(Host)
KERNEL_FACTS = TypeAdapter(KernelFacts)
BOOT_FACTS = TypeAdapter(BootFacts)
LOADS = TypeAdapter(Annotated[list[dict[str, bool | _Whole | str]], Field(min_length=1)])


def from_json(text: str, shape: TypeAdapter[Any]) -> Any:
    """Return the value of a JSON column, unchanged.

    `shape`: one of the adapters above. Raises StoreError if the text is not valid JSON or does not
    match it.
    """
    try:
        found = json.loads(text)
        shape.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _refusal(text, f"{where}: {first['msg']}" if where else first["msg"]) from error
    except (ValueError, RecursionError) as error:
        raise _refusal(text, f"expected JSON: {error}") from error
    return found


def check_time(text: str) -> str:
    """Return `text`. Raises StoreError if it is not an ISO 8601 time."""
    try:
        dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise _refusal(text, "expected a time (ISO 8601)") from error
    return text


def check_range(name: str, values: Any, dtype: str) -> None:
    """Raise StoreError if a value is below the minimum of column `name` or does not fit `dtype`.

    `values`: a numpy array or a pandas series.
    """
    lowest = _LOWEST.get(name, 0)
    highest = np.iinfo(dtype.lower()).max if "int" in dtype.lower() else _REAL_LIMIT
    if len(values) and not (values.min() >= lowest and values.max() <= highest):
        found = f"{values.min()} to {values.max()}"
        raise _refusal(found, f"{name}: expected numbers from {lowest} to {highest}")


def _refusal(text: str, why: str) -> StoreError:
    return StoreError(
        f"reading the store: found {one_line(text, 60)!r}: {one_line(why, 200)}\n"
        "  next: the record is invalid; if the store is damaged, "
        "`sqlite3 FILE .recover | sqlite3 NEW.db` may save it"
    )
