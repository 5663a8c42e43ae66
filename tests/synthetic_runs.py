"""A run of made-up figures, for the tests of the report. No figure here was ever measured."""

import json

from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.store.store import open_store
from harness.verdict import Verdict

RUN = "20260102-030405-synthetic-0000"
CASES = ("fix_size_alloc_test", "full_fit_alloc_test", "long_busy_list_alloc_test")
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} "
    "\x1b[31mred\x1b[0m \x00\x07 \u202eevil & \"quoted\" 'single'"
)
KERNELS = ("synthetic-old", "synthetic-new")


SIMULATED = {"kind": "simulated", "machine": "uniform"}


def write_synthetic_run(
    reports,
    thread_counts=(1, 4),
    repeats=4,
    hostile=False,
    kernels=KERNELS,
    target=None,
):
    """Return the store of one run in `reports`: the new kernel is 4 times as fast in one case.

    On a simulated `target` a worker runs on each CPU, the old kernel has one vmap node, and each
    boot has a profile.
    """
    store = open_store(reports / "vmapbench.db")
    jobs = _jobs(thread_counts, repeats, kernels, target)
    store.create_run(_run(kernels, target), jobs)
    for job in jobs[:-1] if hostile else jobs:
        store.record_boot(RUN, _boot(job, reports, target))
    if hostile:
        _add_hostile_boot(store, reports, jobs[-1])
    store.finish_run(RUN, "2026-01-02T04:04:05+00:00")
    return store


def _run(kernels, target):
    return RunRecord(
        id=RUN,
        playbook="version: 1\nkernels: [synthetic-old, synthetic-new]\n",
        plan={
            "name": "synthetic",
            "question": "Is a made-up kernel faster than another?",
            "kernels": list(kernels),
            "baseline": kernels[0],
            "target": target or {"kind": "qemu"},
            "seed": 7,
        },
        harness="0.1.0",
        host={"cpu": "synthetic CPU", "cores": 8, "kernel": "6.1", "bios": ""},
        started_at="2026-01-02T03:04:05+00:00",
        kernels={name: _kernel(name) for name in kernels},
    )


def _kernel(name):
    parameters = ["vmap_nodes=1"] if name.endswith("old") else []
    return {
        "release": "6.12.0",
        "critical": {"CONFIG_SLUB": "y"},
        "boot_parameters": parameters,
    }


def _jobs(thread_counts, repeats, kernels, target):
    points = [(r, n, k) for r in range(repeats) for n in thread_counts for k in kernels]
    return [
        JobRecord(
            position=p,
            kernel=kernel,
            workload=f"sweep[nr_threads={n}]",
            cpus=n if target else 4,
            nr_threads=n,
            loads=({"nr_threads": n},),
            repeat=r,
            expected_s=2.0,
        )
        for p, (r, n, kernel) in enumerate(points)
    ]


def _boot(job, reports, target):
    folder = f"logs/{job.position:04}"
    (reports / RUN / folder).mkdir(parents=True)
    faster = 4 if job.kernel.endswith("new") else 1
    samples = []
    for worker in range(job.nr_threads):
        for number, case in enumerate(CASES):
            time_us = 20_000 * (number + 1) + 37 * job.repeat + 11 * worker
            time_us = time_us // faster if number == 0 else time_us
            samples.append(Sample(worker, case, 1, 0, None, 1, 1000, time_us))
    memory = {
        "meminfo_kib": {"PageTables": 60, "Slab": 4096, "VmallocUsed": 700, "KernelStack": 640},
        "free_blocks": [100 + job.repeat, *[10] * 9, 50 if job.kernel.endswith("old") else 70],
        "vmstat": {"compact_stall": 0, "nr_vmalloc": 175},
    }
    facts = {
        "argv": ["qemu-system-x86_64", "-smp", "4"],
        "machine": {"kind": "qemu", "accelerator": "kvm"},
        "noise": {"other_share": 0.01, "steal_share": 0.0},
        "memory": [{"moment": name, **memory} for name in ("before", "after", "at rest")],
        "latency_ns": [
            {"case": CASES[0], "call": "alloc", "calls": 9, "p50": 640 + job.repeat}
            | {"p99": 900, "p999": 1200, "max": 5000}
        ],
        "vmap_nodes": 4 if target is None else 1 if job.kernel.endswith("old") else job.cpus,
    }
    if target:
        (reports / RUN / folder / "profile.json").write_text(json.dumps(_profile(job)))
    load_ns = 130_000_000 + 1_000_000 * job.repeat
    when = "2026-01-02T03:05:00+00:00"
    passed = Verdict.PASSED
    return BootRecord(job.position, passed, "", load_ns, 3.0, when, folder, facts, tuple(samples))


def _profile(job):
    spin = 0.6 if job.kernel.endswith("old") else 0.2
    functions = {"queued_spin_lock_slowpath": spin, "alloc_vmap_area": 0.15, "vfree": 0.9 - spin}
    return {
        "version": 1,
        "spin_share": spin,
        "self": functions,
        "waiting_for_lock_taken_in": {"alloc_vmap_area": spin},
    }


def _add_hostile_boot(store, reports, job):
    folder = "logs/hostile"
    (reports / RUN / folder).mkdir(parents=True)
    console = (HOSTILE + "\n").encode() + b"A" * 10_000_000 + b"\xff\xfe\n" + HOSTILE.encode()
    (reports / RUN / folder / "console.log").write_bytes(console)
    finding = {"name": HOSTILE, "severity": "crash", "line": 1, "excerpt": HOSTILE * 50}
    when = "2026-01-02T03:06:00+00:00"
    facts = {"argv": ["qemu", HOSTILE.replace("\x00", "")], "findings": [finding]}
    reason = HOSTILE.replace("\x00", "")
    crashed = Verdict.CRASHED
    store.record_boot(
        RUN, BootRecord(job.position, crashed, reason, None, 1.0, when, folder, facts)
    )
