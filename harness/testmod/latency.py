"""Parses the latencies of calls that vmapbench_cases prints. Pure; never raises on a log."""

import re
from collections.abc import Sequence
from typing import Any

from harness.testmod.prefix import strip_colour
from harness.testmod.workload import Workload

PERCENTILES = {"p50": "p50", "p99": "p99", "p999": "p99.9", "max": "max"}
CALLS = ("alloc", "free")
TIME_CALLS = "time_calls"  # the parameter of vmapbench_cases
_LINE = re.compile(
    r"Latency: (\w{1,64}) (alloc|free) calls: (\d{1,18}) p50: (\d{1,18}) p99: (\d{1,18})"
    r" p999: (\d{1,18}) max: (\d{1,18}) nsec"
)


def parse_latencies(text: str) -> list[dict[str, Any]]:
    """Return a dict per case and call: `case`, `call`, `calls`, and those of `PERCENTILES` in ns.

    If several loads ran a case, the last one counts. Inconsistent lines are left out.
    """
    found = {}
    for line in _LINE.finditer(strip_colour(text)):
        case, call, *numbers = line.groups()
        calls, *times = map(int, numbers)
        if calls and times == sorted(times):
            row = {"case": case, "call": call, "calls": calls}
            found[case, call] = row | dict(zip(PERCENTILES, times, strict=True))
    return list(found.values())


def missing_latencies(latencies: Sequence[dict[str, Any]], workload: Workload) -> list[str]:
    """Return a sentence for each latency that a load with `time_calls` should have and has not."""
    if not workload.parameters.get(TIME_CALLS):
        return []
    calls = {(row["case"], row["call"]): row["calls"] for row in latencies}
    asked = workload.nr_threads * workload.loops * workload.repeats
    faults = [
        f"no latency of {case} {call}"
        for case in workload.cases
        for call in CALLS
        if (case, call) not in calls
    ]
    return faults + [
        f"latency of {case} {call} is of {count} calls, expected {asked}"
        for (case, call), count in calls.items()
        if case not in workload.cases or (call == "alloc" and count != asked)
    ]
