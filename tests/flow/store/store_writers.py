"""Records for the store's tests, and processes that write them."""

from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.store.store import open_store
from harness.verdict import Verdict

CASES = ("fix_size_alloc_test", "full_fit_alloc_test", "vm_map_ram_test")
WORKERS = 8
PLAN = {
    "name": "smoke", "baseline": "one-node", "seed": 7,
    "kernels": ["one-node", "per-cpu"], "target": {"kind": "qemu"},
}  # fmt: skip


def run_record(run_id="20261123-031500-smoke-ab12", **changes):
    values = {
        "id": run_id,
        "playbook": "version: 1\n",
        "plan": PLAN,
        "harness": "0.1.0",
        "host": {"cpu": "a processor", "cores": 2, "id": "f00d"},
        "started_at": "2026-11-23T03:15:00+00:00",
        "kernels": {
            "one-node": {"key": "aa" * 32, "release": "6.12.1", "critical": {"CONFIG_NUMA": "y"}},
            "per-cpu": {"key": "bb" * 32, "release": "6.12.1", "patches": ["p.patch"]},
        },
    }
    return RunRecord(**values | changes)


def job_records(count=4):
    return [
        JobRecord(
            position=position,
            kernel=("one-node", "per-cpu")[position % 2],
            workload="page[nr_threads=8,cpus=4]",
            cpus=4,
            nr_threads=WORKERS,
            loads=({"nr_threads": WORKERS}, {"nr_threads": WORKERS, "test_loop_count": 10}),
            repeat=position // 2,
            expected_s=2.5,
        )
        for position in range(count)
    ]


def sample_records(base_us=1000):
    return tuple(
        Sample(worker, case, 1, 0, None, 1, 1000, base_us + 10 * worker + number)
        for worker in range(WORKERS)
        for number, case in enumerate(CASES)
    )


def boot_record(position=0, **changes):
    values = {
        "position": position,
        "verdict": Verdict.PASSED,
        "reason": "",
        "load_ns": 123456789 + position,
        "elapsed_s": 3.25,
        "started_at": "2026-11-23T03:16:00+00:00",
        "folder": f"logs/{position:04}-1",
        "facts": {"argv": ["qemu-system-x86_64", "-smp", "4"], "memory": [{"moment": "before"}]},
        "samples": sample_records(1000 * (1 + position % 2)),
    }
    return BootRecord(**values | changes)


def write_all(where, run_id, positions, told=None):
    """Record the boots; tell each one's position once it is kept."""
    store = open_store(where)
    for position in positions:
        store.record_boot(run_id, boot_record(position))
        if told is not None:
            told.send(position)
    store.close()


def write_run(where, run_id, count):
    """Make a run of `count` boots and record them all."""
    store = open_store(where)
    store.create_run(run_record(run_id), job_records(count))
    store.close()
    write_all(where, run_id, range(count))
