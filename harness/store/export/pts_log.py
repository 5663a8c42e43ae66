"""Phoronix Test Suite: the log that the test profile in contrib/phoronix reads, a line per boot.

Of a run with several kernels and a sweep it has the whole load of the baseline and of the first
other kernel, with the most threads.
"""

import math
from typing import BinaryIO

from harness.errors import InputError
from harness.records import StoredRun
from harness.store.store import Store
from harness.verdict import Verdict


def write(stored: StoredRun, store: Store, stream: BinaryIO) -> None:
    """Write the boots that passed. Raises InputError if a kernel has none."""
    boots = store.boots_frame(stored.run.id)
    passed = boots[(boots["verdict"] == Verdict.PASSED.value) & boots["load_ns"].notna()]
    names = passed["kernel"].astype(str)
    baseline = str(stored.run.plan["baseline"])
    others = [
        name for name in stored.run.plan.get("kernels", sorted(set(names))) if name != baseline
    ]
    if passed.empty or baseline not in set(names):
        raise InputError(f"{stored.run.id}: no boot of {baseline} passed: nothing to export")
    most = passed.sort_values(["nr_threads", "cpus"], kind="stable").iloc[-1]
    at_most = passed[
        (passed["nr_threads"] == most["nr_threads"])
        & (passed["cpus"] == most["cpus"])
        & (passed["workload"] == most["workload"])
    ]
    means = {}
    for word, name in (("baseline", baseline), *(("candidate", name) for name in others[:1])):
        times = at_most[at_most["kernel"].astype(str) == name]["load_ns"].astype("float64") / 1e9
        for time_s in times:
            stream.write(f"{word} whole load seconds: {time_s:.9f}\n".encode())
        if len(times):
            means[word] = math.exp(sum(math.log(time_s) for time_s in times) / len(times))
    if len(means) == 2:
        ratio = means["baseline"] / means["candidate"]
        stream.write(f"baseline over candidate: {ratio:.6f}\n".encode())
