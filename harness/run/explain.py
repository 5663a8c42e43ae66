"""Extra boots that say why kernels differ. None of them is a sample."""

import contextlib
import secrets

from harness.errors import InfrastructureError, InputError
from harness.records import JobRecord
from harness.run.execute import Execution, boot_request
from harness.run.prepare import Prepared
from harness.targets.base import Target
from harness.targets.explanation import FILE, read_explanation, write_explanation
from harness.verdict import Verdict

FOLDER = "explanations"  # of a run: a file for each kernel


def refuse_unexplained(target: Target, kind: str) -> None:
    """Raise InputError where a target's boots cannot say where their time went."""
    if target.explain_fragments is None:
        raise InputError(
            f"--explain: this target of kind {kind} cannot say where its time goes\n"
            "  next: kind: simulated (--on simulated), ssh, and qemu for x86_64 can; without "
            "--explain this one measures"
        )


def explained_jobs(prepared: Prepared) -> list[JobRecord]:
    """Return one job a kernel: of the first workload with the most workers."""
    jobs = [job for job in prepared.jobs if not job.repeat and job.kernel in prepared.kernels]
    most = max((job.nr_threads for job in jobs), default=0)
    chosen: dict[str, JobRecord] = {}
    workload = next((job.workload for job in jobs if job.nr_threads == most), "")
    for job in jobs:
        if (job.workload, job.nr_threads) == (workload, most):
            chosen.setdefault(job.kernel, job)
    return list(chosen.values())


def explain_run(run: Execution, prepared: Prepared) -> list[str]:
    """Boot each kernel once more, and keep what it says; return a sentence for each that failed."""
    failed = [f"{name} is not explained: {why}" for name, why in prepared.broken.items()]
    for job in explained_jobs(prepared):
        run.observer.phase(f"explaining {job.kernel}")
        name = f"explain-{job.kernel}-{secrets.token_hex(2)}"
        request = boot_request(job, prepared, run.folder / "logs" / name, explain=True)
        request.folder.mkdir(parents=True)
        try:
            result = run.target.boot(request, run.observer.phase)
        except InfrastructureError as error:
            failed.append(f"{job.kernel} is not explained: {error}")
            continue
        found = read_explanation(request.folder / FILE)
        if result.verdict is not Verdict.PASSED or found is None:
            reason = result.reason or "it left no account of its time"
            failed.append(f"{job.kernel} is not explained: {reason} (logs: {request.folder})")
            continue
        update = {
            "kernel": job.kernel,
            "workload": job.workload,
            "cpus": job.cpus,
            "nr_threads": job.nr_threads,
            "load_ns": result.load_ns[-1] if result.load_ns else None,
        }
        folder = run.folder / FOLDER
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        write_explanation(folder / f"{job.kernel}.json", found.model_copy(update=update))
    return failed
