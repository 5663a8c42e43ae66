"""Measures size and rendering time of pages: `python -m benchmarks.report [grid ...]`

The runs are synthetic; the analysis is measured as well. Each size runs in its own process.
samples.csv is measured with the store's exports: `python -m benchmarks.store`.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from harness.analysis.compare import compare
from harness.analysis.frames import BOOTS, SAMPLES, typed
from harness.records import BootRecord, JobRecord, RunRecord
from harness.report.collect import RunReport
from harness.report.page import render_page
from harness.report.prediction import PredictedPoint, ensure_prediction
from harness.report.view import View
from harness.testmod import cases
from harness.verdict import Verdict

CASES = tuple(case.name for case in cases.CASES[:11])  # those of 6.12
# kernels, cases, thread counts, workloads, repeats
SIZES = {
    "typical": (2, 3, (1, 2, 4, 8), 1, 3),
    "grid": (6, 11, (1, 2, 4, 8, 16, 32, 64, 128), 1, 5),
    "large": (2, 11, (64,), 5, 1000),
}


def made_up(kernels, cases, threads, workloads, repeats):
    names = [f"kernel-{number}" for number in range(kernels)]
    points = [
        (name, f"load-{load}[cpus={n}]", n)
        for _ in range(repeats)
        for load in range(workloads)
        for n in threads
        for name in names
    ]
    jobs = [
        JobRecord(p, name, load, n, n, ({"nr_threads": n},), 0, 1.0)
        for p, (name, load, n) in enumerate(points)
    ]
    rng = np.random.default_rng(1)
    samples = pd.concat([_samples(job, CASES[:cases], names, rng) for job in jobs])
    boots = [_boot(job, names, rng) for job in jobs]
    facts = pd.DataFrame(
        {
            "run_id": "made-up",
            "boot": range(len(jobs)),
            "position": range(len(jobs)),
            "kernel": [job.kernel for job in jobs],
            "workload": [job.workload for job in jobs],
            "cpus": [job.cpus for job in jobs],
            "nr_threads": [job.nr_threads for job in jobs],
            "verdict": "passed",
            "reason": "",
            "load_ns": [boot.load_ns for boot in boots],
            "elapsed_s": 1.0,
            "started_at": "2026-01-02T03:04:05+00:00",
            "block": [job.repeat for job in jobs],
        }
    )
    return _run(names), jobs, boots, typed(samples, SAMPLES), typed(facts, BOOTS)


def _run(names):
    kernels = {name: {"release": "6.12.1", "boot_parameters": []} for name in names}
    kernels[names[0]]["boot_parameters"] = ["vmap_nodes=1"]
    plan = {
        "name": "made-up",
        "question": "How large is a page?",
        "kernels": names,
        "baseline": names[0],
        "target": {"kind": "simulated", "machine": "threadripper-3970x"},
        "seed": 1,
    }
    when = "2026-01-02T03:04:05+00:00"
    return RunRecord("made-up", "version: 1\n", plan, "0", {"cores": 2}, when, kernels)


def _samples(job, cases, names, rng):
    count = job.nr_threads * len(cases)
    usual_us = 1e5 * job.nr_threads / (1 + names.index(job.kernel)) * np.exp(rng.normal(0, 0.02))
    return pd.DataFrame(
        {
            "run_id": pd.Categorical(["made-up"] * count),
            "boot": np.int32(job.position),
            "position": np.int32(job.position),
            "kernel": job.kernel,
            "workload": job.workload,
            "cpus": np.int32(job.cpus),
            "nr_threads": np.int32(job.nr_threads),
            "worker": np.repeat(np.arange(job.nr_threads, dtype="int32"), len(cases)),
            "case": list(cases) * job.nr_threads,
            "passed": np.int32(1),
            "failed": np.int32(0),
            "xfailed": pd.array([0] * count, dtype="Int32"),
            "repeat": np.int32(1),
            "loops": np.int32(1_000_000),
            "avg_us": (usual_us * np.exp(rng.normal(0, 0.05, count))).astype("int64"),
        }
    )


def _boot(job, names, rng):
    held = {"PageTables": 600, "Slab": 4096, "VmallocUsed": 700, "KernelStack": 640}
    memory = {"meminfo_kib": held, "free_blocks": [50] * 11}
    facts = {
        "argv": ["qemu-system-x86_64", "-smp", str(job.cpus)],
        "machine": {"kind": "simulated"},
        "memory": [{"moment": name, **memory} for name in ("before", "after", "at rest")],
        "vmap_nodes": 1 if job.kernel == names[0] else job.cpus,
    }
    load_ns = int(1e9 * np.exp(rng.normal(0, 0.02)))
    when = "2026-01-02T03:05:00+00:00"
    return BootRecord(job.position, Verdict.PASSED, "", load_ns, 3.0, when, "logs", facts)


def step(what, work):
    clock, cpu = time.perf_counter(), time.process_time()
    made = work()
    print(
        f"  {what:<12}{time.process_time() - cpu:>7.1f} s of processor"
        f"{time.perf_counter() - clock:>8.1f} s of clock",
        flush=True,
    )
    return made


def measure(size):
    run, jobs, boots, samples, frame = made_up(*SIZES[size])
    print(f"{size}: {len(boots):,} boots, {len(samples):,} samples", flush=True)
    found = step("analysis", lambda: compare(samples, frame, run.plan["baseline"], seed=1))
    report = RunReport(run, jobs, boots, samples, frame, found)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        predict = lambda setting, _: PredictedPoint(*setting, 1e6 * setting[2], "lock")  # noqa: E731
        ensure_prediction(View(report), folder, predict)
        page = step("page", lambda: render_page(View(report), folder))
        again = step("page again", lambda: render_page(View(report), folder))
        assert page == again
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  page {len(page.encode()) / 1e6:.2f} MB, peak {peak_mib:,.0f} MiB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
    else:
        for size in sys.argv[1:] or SIZES:
            subprocess.run([sys.executable, "-m", "benchmarks.report", "--one", size], check=True)
