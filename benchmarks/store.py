"""Measures recording, loading and exporting 10,000 boots of 64 workers x 11 cases.

python -m benchmarks.store

Each step runs in its own process, to measure its peak memory. Only the first boots are recorded one
by one; the others are copies by SQL, which is not measured.
"""

import argparse
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.store import export
from harness.store.connect import transaction
from harness.store.store import open_store
from harness.verdict import Verdict

WORKERS = 64
CASES = [f"case_{number}_test" for number in range(11)]


class Sink(io.RawIOBase):
    """Counts the bytes written and discards them."""

    size = 0

    def writable(self):
        return True

    def write(self, data):
        self.size += len(data)
        return len(data)


def record(path: Path, boots: int) -> str:
    store = open_store(path)
    jobs = [
        JobRecord(i, f"kernel{i % 2}", "page", 64, 64, ({"nr_threads": 64},), i // 2, 1.0)
        for i in range(boots)
    ]
    plan = {"name": "bench", "baseline": "kernel0", "seed": 1}
    plan |= {"kernels": ["kernel0", "kernel1"], "target": {"kind": "qemu"}}
    store.create_run(RunRecord("bench", "", plan, "0", {}, "2026-01-01T00:00:00+00:00"), jobs)
    for job in jobs:
        samples = [
            Sample(worker, case, 1, 0, None, 1, 10_000, 100_000 + (job.position * worker) % 9973)
            for worker in range(WORKERS)
            for case in CASES
        ]
        store.record_boot(
            "bench",
            BootRecord(
                job.position, Verdict.PASSED, "", 10**9, 1.0, "", f"{job.position}", {}, samples
            ),
        )
    store.close()
    return f"{path.stat().st_size / 1e6:.0f} MB on disk"


def multiply(path: Path, recorded: int, boots: int) -> str:
    """Copy the recorded boots until there are `boots`."""
    store = open_store(path)
    with transaction(store.engine, "multiplying", writes=True) as connection:
        for first in range(recorded, boots, recorded):
            shift = {"by": first, "run": "bench", "count": recorded}
            for table in ("jobs", "boots", "samples"):
                connection.execute(sa.text(COPIES[table]), shift)
    return f"{path.stat().st_size / 1e6:.0f} MB on disk"


COPIES = {
    "jobs": """INSERT INTO jobs SELECT run_id, position + :by, kernel, workload, cpus, nr_threads,
        loads, repeat, expected_s FROM jobs WHERE position < :count""",
    "boots": """INSERT INTO boots SELECT id + :by, run_id, boot + :by, position + :by, verdict,
        reason, load_ns, elapsed_s, started_at, position + :by, facts FROM boots
        WHERE boot < :count""",
    "samples": """INSERT INTO samples SELECT boot_id + :by, worker, "case", passed, failed, xfailed,
        repeat, loops, avg_us + :by FROM samples WHERE boot_id <= :count""",
}


def load(path: Path, _: int) -> str:
    store = open_store(path)
    frame = store.samples_frame("bench")
    return f"{len(frame)} samples, {frame.memory_usage(deep=True).sum() / 1e6:.0f} MB"


def carry_out(path: Path, form: str) -> str:
    sink = Sink()
    export.export_run(open_store(path), "bench", form, sink)
    return f"{sink.size / 1e6:.0f} MB"


def measured(results, step, *arguments):
    began = time.monotonic()
    words = step(*arguments)
    wall_s = time.monotonic() - began
    usage = resource.getrusage(resource.RUSAGE_SELF)
    results.put((wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, words))


def show(name: str, step, *arguments) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=measured, args=(results, step, *arguments))
    child.start()
    wall_s, cpu_s, peak_mib, words = results.get()
    child.join()
    print(f"| {name} | {wall_s:.1f} | {cpu_s:.1f} | {peak_mib:.0f} | {words} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boots", type=int, default=10_000)
    parser.add_argument("--recorded", type=int, default=500)
    parser.add_argument("--formats", nargs="*", default=["csv", "json", "parquet", "pts"])
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {sys.version.split()[0]}"
    )
    print("| step | wall s | CPU s | peak MiB | |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        show(f"record {options.recorded} boots", record, path, options.recorded)
        show("(copy them)", multiply, path, options.recorded, options.boots)
        show("load into frames", load, path, options.boots)
        for form in options.formats:
            show(f"export {form}", carry_out, path, form)


if __name__ == "__main__":
    main()
