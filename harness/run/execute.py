"""Executes the planned jobs of a run in order and stores each boot as soon as it ends."""

import contextlib
import datetime as dt
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.build.kernel import BuiltKernel
from harness.errors import InfrastructureError
from harness.records import BootRecord, JobRecord
from harness.run.diagnosis import ENOUGH, no_boot_diagnosis
from harness.run.judge import blame_host, judge_boot, read_console
from harness.run.noise import HostState, Noise, noise_between, own_cpu_s, read_host_state
from harness.run.observer import Observer
from harness.run.prepare import Prepared
from harness.store.store import Store
from harness.targets.base import BootRequest, BootResult, Target
from harness.testmod.catalogue import Severity
from harness.testmod.latency import parse_latencies
from harness.testmod.verdicts import scan_console
from harness.testmod.workload import steady_loops
from harness.verdict import Verdict

ATTEMPTS = 3  # for a boot that was noisy or interrupted


ReadHost = Callable[[], HostState]

LocateStack = Callable[[Sequence[str], BuiltKernel], Mapping[str, str]]
"""Returns the source lines of stack entries in logs; `harness.build.stack.locate_stack`."""


@dataclass(frozen=True)
class Execution:
    """A run in progress.

    The logs of its boots go to `folder/logs`. `verb` with `folder_options` resumes it.
    """

    run_id: str
    target: Target
    store: Store
    folder: Path
    observer: Observer
    read_host: ReadHost = read_host_state
    locate_stack: LocateStack = lambda _logs, _kernel: {}
    verb: str = "run"
    folder_options: str = ""

    @property
    def resume_command(self) -> str:
        """The command line that resumes it."""
        return f"vmapbench {self.verb} --resume {self.run_id}{self.folder_options}"


def pending_jobs(jobs: list[JobRecord], boots: list[BootRecord]) -> list[tuple[JobRecord, int]]:
    """Return the jobs without a final boot, each with the number of its next attempt (from 1).

    A boot that was noisy or interrupted is repeated up to `ATTEMPTS` times.
    """
    pending = []
    for job in jobs:
        tried = [boot for boot in boots if boot.position == job.position]
        final = any(boot.verdict.final for boot in tried) or len(tried) >= ATTEMPTS
        if not final:
            pending.append((job, len(tried) + 1))
    return pending


def run_pending(run: Execution, prepared: Prepared) -> None:
    """Execute the jobs of `run` that have no final boot yet.

    Runs as many boots in parallel as the target can, and stores each as soon as it ends. If none
    reaches init, the rest is skipped. Raises InfrastructureError after a job was interrupted
    `ATTEMPTS` times; the boots so far are kept.
    """
    boots = run.store.boots(run.run_id)
    pending = pending_jobs(prepared.jobs, boots)
    run.observer.planned(run.run_id, len(prepared.jobs), len(prepared.jobs) - len(pending))
    needed_mib = max((prepared.memory_mib(job) for job, _ in pending), default=1)
    most = run.target.side_by_side(needed_mib)
    running: dict[Future[BootRecord], tuple[JobRecord, int]] = {}
    with (
        ThreadPoolExecutor(most) if most > 1 else _InlineExecutor() as pool,
        _close_on_error(run.target),
    ):
        while pending:
            begun = {job.position for job, _ in running.values()}
            free = [(job, attempt) for job, attempt in pending if job.position not in begun]
            for job, attempt in free[: most - len(running)]:
                run.observer.boot_began(job, attempt)
                running[pool.submit(_boot_once, run, prepared, job, attempt)] = (job, attempt)
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                job, attempt = running.pop(ended)
                record = ended.result()
                run.store.record_boot(run.run_id, record)
                boots.append(record)
                pending = pending_jobs(prepared.jobs, boots)
                if no_boot_diagnosis(prepared.jobs, boots):
                    boots += _skip_rest(run, pending, running.values())
                    pending = pending_jobs(prepared.jobs, boots)
                run.observer.boot_ended(job, record, len(pending))
                if record.verdict is Verdict.INTERRUPTED and attempt >= ATTEMPTS:
                    raise InfrastructureError(
                        f"boot {job.position} ({job.kernel}, {job.workload}) failed {attempt} "
                        f"times, not by the kernel's fault, last: {record.reason}\n"
                        f"  next: fix that, then: {run.resume_command}"
                    )


def _skip_rest(
    run: Execution,
    pending: Sequence[tuple[JobRecord, int]],
    running: Iterable[tuple[JobRecord, int]],
) -> list[BootRecord]:
    """Store a SKIPPED record for each job that has not begun; return these records."""
    begun = {job.position for job, _ in running}
    left_out = [
        BootRecord(
            position=job.position,
            verdict=Verdict.SKIPPED,
            reason=f"skipped: none of the {ENOUGH} boots before it reached init",
            load_ns=None,
            elapsed_s=0.0,
            started_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            folder=f"logs/{job.position:04}-left-out",
        )
        for job, _ in pending
        if job.position not in begun
    ]
    for record in left_out:
        run.store.record_boot(run.run_id, record)
    return left_out


@contextlib.contextmanager
def _close_on_error(target: Target) -> Iterator[None]:
    """Close the target, which ends its running boots, when the block raises."""
    try:
        yield
    except BaseException:
        target.close()
        raise


class _InlineExecutor(Executor):
    """Runs each call at once, in this thread, so that Ctrl-C interrupts it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Call `fn` and return a finished future; exceptions of `fn` propagate to the caller."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _boot_once(run: Execution, prepared: Prepared, job: JobRecord, attempt: int) -> BootRecord:
    """Boot once and return its record, even if it failed."""
    started_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    name = f"{job.position:04}-{job.kernel}-{attempt}-{secrets.token_hex(2)}"
    relative = Path("logs") / name

    def record(verdict: Verdict, reason: str, elapsed_s: float = 0.0, **more: Any) -> BootRecord:
        more.setdefault("load_ns", None)
        return BootRecord(
            position=job.position,
            verdict=verdict,
            reason=reason,
            elapsed_s=elapsed_s,
            started_at=started_at,
            folder=str(relative),
            **more,
        )

    if job.kernel in prepared.broken:
        return record(Verdict.BUILD_FAILED, prepared.broken[job.kernel])
    request = boot_request(job, prepared, run.folder / relative)
    before, own, began = run.read_host(), own_cpu_s(), time.monotonic()
    try:
        request.folder.mkdir(parents=True)
        result = run.target.boot(request, run.observer.phase)
    except InfrastructureError as error:
        return record(Verdict.INTERRUPTED, str(error), time.monotonic() - began)
    except OSError as error:
        return record(Verdict.INTERRUPTED, f"cannot keep logs below {run.folder}: {error}")
    elapsed_s = time.monotonic() - began
    after, own_s = run.read_host(), own_cpu_s() - own
    noise = noise_between(before, after, own_s, elapsed_s, _host_cpus(result))
    return record(elapsed_s=elapsed_s, **_judged(run, prepared, job, request, result, noise))


def _judged(
    run: Execution,
    prepared: Prepared,
    job: JobRecord,
    request: BootRequest,
    result: BootResult,
    noise: Noise,
) -> dict[str, Any]:
    """Return verdict, reason, time, facts and samples for the record of a boot."""
    measured = prepared.workloads(job)[-1]
    log = result.kernel_log or read_console(result.console)
    findings = scan_console(log)
    splats = [finding for finding in findings if finding.severity is not Severity.NOTE]
    verdict, reason, samples = judge_boot(result, measured, findings, job.cpus)
    limits = prepared.playbook.noise
    excess = noise.excess(limits) if run.target.disturbed_by_host else ""
    if run.target.disturbed_by_host and (host := blame_host(verdict, result, findings, excess)):
        verdict, reason = Verdict.NOISY, f"{host}: {reason}" if reason else host
    facts = {
        **result.facts,
        "argv": list(result.argv),
        "machine": dict(run.target.machine()),
        "noise": noise.facts(),
        "noise_limits_needed": noise.limits_needed(limits) if excess else {},
        "memory_mib": request.memory_mib,
        "latency_ns": parse_latencies(log),
        "findings": [asdict(finding) for finding in findings],
        "reached_init": result.reached_init,
        "last_line": "" if result.reached_init else _last_line(log),
        "stack": dict(run.locate_stack([log], request.kernel)) if splats else {},
        "steady_loops": steady_loops(measured.nr_threads, job.cpus),
    }
    return {
        "verdict": verdict,
        "reason": reason,
        "load_ns": result.load_ns[-1] if result.load_ns else None,
        "facts": facts,
        "samples": samples if verdict in (Verdict.PASSED, Verdict.NOISY) else (),
    }


def boot_request(
    job: JobRecord, prepared: Prepared, folder: Path, explain: bool = False
) -> BootRequest:
    """Return the boot of a job, with its logs in `folder`."""
    return BootRequest(
        kernel=prepared.kernel_for(job),
        cpus=job.cpus,
        loads=tuple(load.render_parameters() for load in prepared.workloads(job)),
        memory_mib=prepared.memory_mib(job),
        expected_s=job.expected_s * len(job.loads),
        folder=folder,
        repeat=job.repeat,
        fragment=prepared.fragment_parameters(job),
        explain=explain,
    )


def _host_cpus(result: BootResult) -> int:
    return int(result.facts.get("host_cores", 1))


def _last_line(log: str) -> str:
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")
