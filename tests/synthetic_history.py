"""Nights of made-up figures, for the tests of the history. No figure here was ever measured."""

import datetime as dt

from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.verdict import Verdict

BEGIN = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
_PLAN = {
    "name": "nightly",
    "baseline": "mainline",
    "kernels": ["mainline"],
    "target": {"kind": "qemu"},
    "seed": 1,
}
MACHINE = {"kind": "qemu", "qemu": "10.0.2", "accelerator": "kvm"}


def keep_night(
    store, night, time_us, *, compiler="gcc 12", loops=1000, cpu="CPU", line="6.12", verdict=None
):
    """Keep one run of two boots with two workers each."""
    run_id = f"2026-night-{night:03}"
    started_at = (BEGIN + dt.timedelta(days=night)).isoformat()
    loads = ({"nr_threads": 2, "test_loop_count": loops},)
    jobs = [JobRecord(i, "mainline", "quick", 2, 2, loads, i, 2.0) for i in range(2)]
    facts = {"compiler": compiler, "line": line}
    host = {"cpu": cpu, "id": cpu}
    run = RunRecord(run_id, "", _PLAN, "0.1", host, started_at, {"mainline": facts})
    store.create_run(run, jobs)
    for job in jobs:
        # A repeatable ripple of 0.2 %: nights are never alike to the last digit.
        own_us = int(time_us * (1 + 0.001 * ((7 * night + job.position) % 5 - 2)))
        samples = tuple(
            Sample(w, "fix_size_alloc_test", 1, 0, None, 1, loops, own_us + 10 * w)
            for w in range(2)
        )
        said = verdict or Verdict.PASSED
        folder = f"logs/{job.position}"
        boot = BootRecord(
            job.position, said, "", 5_000 * own_us, 3.0, started_at, folder,
            {"machine": MACHINE}, samples,
        )  # fmt: skip
        store.record_boot(run_id, boot)
