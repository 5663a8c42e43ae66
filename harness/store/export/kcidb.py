"""KCIDB: the kernel community's report format (schema v5.3), checked by kcidb-io."""

import hashlib
import json
import re
from typing import Any, BinaryIO

from harness.errors import InputError
from harness.records import JobRecord, StoredRun
from harness.spec.architecture import X86_64
from harness.store.store import Store
from harness.verdict import Verdict

_ORIGIN = "vmapbench"
_STATUS = {
    Verdict.PASSED: "PASS",
    Verdict.SKIPPED: "SKIP",
    Verdict.NOISY: "SKIP",
    Verdict.MISSING: "MISS",
    Verdict.INTERRUPTED: "ERROR",
    Verdict.MODULE_MISSING: "ERROR",
    Verdict.BUILD_FAILED: "MISS",  # its build is FAIL; the test could not run
}


def write(stored: StoredRun, _store: Store, stream: BinaryIO) -> None:
    """Write a checkout and a build per kernel, and a test per planned boot.

    Raises InputError if kcidb-io is not installed.
    """
    try:
        from kcidb_io.schema import V5_3  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise InputError("KCIDB needs kcidb-io: pip install 'vmapbench[kcidb]'") from error
    broken = {job.kernel for job in stored.jobs if stored.outcome(job)[0] is Verdict.BUILD_FAILED}
    names = dict.fromkeys([*stored.run.kernels, *(job.kernel for job in stored.jobs)])
    report = {
        **V5_3.new(),
        "checkouts": [_checkout(stored, name) for name in names],
        "builds": [_build(stored, name, name in broken) for name in names],
        "tests": [_test(stored, job) for job in stored.jobs],
    }
    report = json.loads(json.dumps(report).replace("\\u0000", "\\ufffd"))
    V5_3.validate_exactly(report)
    stream.write(json.dumps(report, indent=1).encode() + b"\n")


def _id(stored: StoredRun, kind: str, name: str) -> str:
    return f"{_ORIGIN}:{stored.run.id}/{kind}/{name}"


def _checkout(stored: StoredRun, name: str) -> dict[str, Any]:
    facts = stored.run.kernels.get(name, {})
    patches = "\n".join(facts.get("patches", ()))
    return {
        "id": _id(stored, "checkout", name),
        "origin": _ORIGIN,
        "comment": str(facts.get("summary") or name),
        "patchset_hash": hashlib.sha256(patches.encode()).hexdigest() if patches else "",
        "misc": {"source": facts.get("source"), "patches": facts.get("patches")},
    }


def _build(stored: StoredRun, name: str, broken: bool) -> dict[str, Any]:
    facts = stored.run.kernels.get(name, {})
    return {
        "id": _id(stored, "build", name),
        "checkout_id": _id(stored, "checkout", name),
        "origin": _ORIGIN,
        "architecture": facts.get("architecture") or X86_64.name,
        "config_name": name,
        "status": "FAIL" if broken else "PASS",
        "misc": dict(facts),
    }


def _test(stored: StoredRun, job: JobRecord) -> dict[str, Any]:
    verdict, reason = stored.outcome(job)
    boot = stored.last_boots.get(job.position)
    test: dict[str, Any] = {
        "id": _id(stored, "boot", str(job.position)),
        "build_id": _id(stored, "build", job.kernel),
        "origin": _ORIGIN,
        "path": "test_vmalloc." + re.sub(r"[^\w-]+", "_", job.workload, flags=re.ASCII),
        "status": _STATUS.get(verdict, "FAIL"),
        "comment": f"{job.workload} on {job.kernel}",
        "misc": {"verdict": verdict.value, "reason": reason, "nr_threads": job.nr_threads},
    }
    if reason:
        test["log_excerpt"] = reason[-16384:]
    if boot:
        test |= {"start_time": boot.started_at, "duration": boot.elapsed_s}
    if boot and boot.load_ns is not None and verdict is Verdict.PASSED:
        test["number"] = {"value": boot.load_ns / 1e9, "unit": "s", "prefix": "metric"}
    return test
