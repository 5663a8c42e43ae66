"""Carries a playbook out: build, check, boot in the planned order, keep every boot at once."""

import contextlib
import datetime as dt
import functools
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness import __version__
from harness.build.kconfig import critical_differences
from harness.build.kernel import BuiltKernel
from harness.errors import InfrastructureError, InputError, KernelBuildError
from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.run.diagnosis import ENOUGH, no_boot_diagnosis
from harness.run.fingerprint import host_fingerprint
from harness.run.noise import HostState, noise_between, own_cpu_s, read_host_state
from harness.run.plan import plan_jobs
from harness.spec.playbook import Playbook
from harness.store.store import Store
from harness.targets.base import BootRequest, BootResult, Target
from harness.testmod.catalogue import Severity
from harness.testmod.log import missing_lines, parse_log, unexpected_failures
from harness.testmod.modinfo import ModuleInfo, parse_modinfo
from harness.testmod.verdicts import Finding, scan_console, verdict_of
from harness.testmod.workload import Workload, check_workload, steady_loops
from harness.verdict import Verdict

ATTEMPTS = 3  # of a boot that was noisy or that the machinery spoiled


class Observer(Protocol):
    """Is told what happens; the command line shows it."""

    def planned(self, run_id: str, jobs: int, done: int) -> None:
        """`jobs` boots are planned, `done` of them are there already."""

    def boot_began(self, job: JobRecord, attempt: int) -> None:
        """A boot begins."""

    def phase(self, words: str) -> None:
        """The boot under way enters a phase."""

    def boot_ended(self, job: JobRecord, record: BootRecord, left: int) -> None:
        """A boot has ended and is kept; `left` jobs have no final verdict yet."""


BuildKernel = Callable[[str], BuiltKernel]
"""Returns the built kernel of that name; raises KernelBuildError or InputError."""


ReadHost = Callable[[], HostState]

LocateStack = Callable[[Sequence[str], BuiltKernel], Mapping[str, str]]
"""Returns entry -> source line for the stack traces in logs; see `harness.build.stack`."""


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before the first boot. `broken`: kernels that do not build, why."""

    playbook: Playbook
    jobs: list[JobRecord]
    kernels: Mapping[str, BuiltKernel]
    modules: Mapping[str, ModuleInfo]
    broken: Mapping[str, str] = field(default_factory=dict)


def prepare(playbook: Playbook, build: BuildKernel, target: Target) -> Prepared:
    """Check the target, build the kernels, check every workload against every module.

    Raises InputError for what the user can mend, before any boot; UnsupportedError where this
    machine cannot be the target, before any build. A kernel that does not build is a verdict of
    its boots, unless none builds.
    """
    target.check()
    kernels: dict[str, BuiltKernel] = {}
    broken: dict[str, str] = {}
    for name in playbook.kernels:
        try:
            kernels[name] = build(name)
        except KernelBuildError as error:
            broken[name] = str(error)
    if not kernels:
        raise KernelBuildError("\n".join(f"{name}: {why}" for name, why in broken.items()))
    refuse_unlike_configs(playbook, kernels)
    modules = {name: parse_modinfo(kernel.module.read_bytes()) for name, kernel in kernels.items()}
    jobs = plan_jobs(playbook)
    given_mib = playbook.target.memory_mib
    faults = sorted({fault for job in jobs for fault in _workload_faults(job, modules, given_mib)})
    if faults:
        raise InputError("the playbook's workloads do not fit:\n  " + "\n  ".join(faults))
    return Prepared(playbook, jobs, kernels, modules, broken)


def refuse_unlike_configs(playbook: Playbook, kernels: Mapping[str, BuiltKernel]) -> None:
    """Raise InputError where kernels differ in a critical symbol that is not allowed by name."""
    differing = critical_differences({name: kernel.critical for name, kernel in kernels.items()})
    faults = [
        f"{symbol}: " + ", ".join(f"{name} has {value}" for name, value in row.items())
        for symbol, row in differing.items()
        if symbol not in playbook.allow_config_differences
    ]
    if faults:
        raise InputError(
            "the kernels' configurations differ in symbols that change the measurement:\n  "
            + "\n  ".join(faults)
            + "\n  build them alike, or name the symbols in allow_config_differences"
        )


def _workload_faults(
    job: JobRecord, modules: Mapping[str, ModuleInfo], given_mib: int | None
) -> list[str]:
    if job.kernel not in modules:
        return []
    faults = []
    for parameters in job.loads:
        try:
            workload = check_workload(parameters, modules[job.kernel])
        except InputError as error:
            faults += str(error).split("\n")
            continue
        needed_mib = workload.memory_mib(job.cpus)
        if given_mib is not None and given_mib < needed_mib:
            faults.append(f"memory_mib: {given_mib}, but its cases hold up to {needed_mib} MiB")
    return [f"{job.workload} on {job.kernel}: {fault}" for fault in faults]


def new_run_id(playbook: Playbook, now: dt.datetime) -> str:
    """Return an id that sorts by time and says what it is: 20240102-184633-smoke-1f3a."""
    return f"{now:%Y%m%d-%H%M%S}-{playbook.name}-{secrets.token_hex(2)}"


def begin_run(
    prepared: Prepared,
    store: Store,
    more: Mapping[str, Any] | None = None,
    now: dt.datetime | None = None,
    run_id: str | None = None,
) -> str:
    """Keep the run and all its planned jobs; return its id.

    `more` is kept with its plan; `now`: when it begins; `run_id`: its id where that is settled.
    """
    now = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    run_id = run_id or new_run_id(prepared.playbook, now)
    run = RunRecord(
        id=run_id,
        playbook=prepared.playbook.text,
        plan={**prepared.playbook.model_dump(mode="json", exclude={"text"}), **(more or {})},
        harness=__version__,
        host=host_fingerprint(),
        started_at=now.isoformat(timespec="seconds"),
        kernels={name: kernel_facts(kernel) for name, kernel in prepared.kernels.items()},
    )
    store.create_run(run, prepared.jobs)
    return run_id


def kernel_facts(kernel: BuiltKernel) -> dict[str, Any]:
    """Return what is kept of a kernel with every result."""
    return {
        "key": kernel.key,
        "release": kernel.release,
        "summary": kernel.spec.summary,
        "source": kernel.spec.source.model_dump(mode="json"),
        "patches": list(kernel.patches),
        "fragments": list(kernel.spec.fragments),
        "boot_parameters": list(kernel.spec.boot_parameters),
        "config_sha256": hashlib.sha256(kernel.config.read_bytes()).hexdigest(),
        "module_sha256": hashlib.sha256(kernel.module.read_bytes()).hexdigest(),
        "critical": dict(kernel.critical),
        "chosen": dict(kernel.chosen),
        "compiler": compiler_of(kernel.config.read_text(encoding="utf-8", errors="replace")),
    }


def compiler_of(config: str) -> str:
    """Return the compiler that a kernel configuration was made for, empty when it does not say."""
    match = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"$', config, re.MULTILINE)
    return match[1] if match else ""


def pending_jobs(jobs: list[JobRecord], boots: list[BootRecord]) -> list[tuple[JobRecord, int]]:
    """Return the jobs without a final boot, each with the number of its next attempt (from 1).

    A boot that was noisy or that the machinery spoiled is repeated up to `ATTEMPTS` times.
    """
    pending = []
    for job in jobs:
        tried = [boot for boot in boots if boot.position == job.position]
        final = any(boot.verdict.final for boot in tried) or len(tried) >= ATTEMPTS
        if not final:
            pending.append((job, len(tried) + 1))
    return pending


def carry_on(
    run_id: str,
    prepared: Prepared,
    target: Target,
    store: Store,
    folder: Path,
    observer: Observer,
    read_host: ReadHost = read_host_state,
    locate_stack: LocateStack = lambda _logs, _kernel: {},
) -> None:
    """Boot whatever `run_id` still lacks. `folder`: the run's; logs go to `folder/logs`.

    As many boots at once as the target can have, each kept as soon as it ends; where none comes as
    far as init the rest is left out. Raises InfrastructureError when the same job was spoiled
    `ATTEMPTS` times; what was measured stays.
    """
    boots = store.boots(run_id)
    pending = pending_jobs(prepared.jobs, boots)
    observer.planned(run_id, len(prepared.jobs), len(prepared.jobs) - len(pending))
    most = target.side_by_side(max((_memory_mib(job, prepared) for job, _ in pending), default=1))
    boot = functools.partial(
        _boot_once,
        prepared=prepared,
        target=target,
        folder=folder,
        observer=observer,
        read_host=read_host,
        locate_stack=locate_stack,
    )
    under_way: dict[Future[BootRecord], tuple[JobRecord, int]] = {}
    with ThreadPoolExecutor(most) if most > 1 else _Here() as pool, _or_end(target):
        while pending:
            begun = {job.position for job, _ in under_way.values()}
            free = [(job, attempt) for job, attempt in pending if job.position not in begun]
            for job, attempt in free[: most - len(under_way)]:
                observer.boot_began(job, attempt)
                under_way[pool.submit(boot, job, attempt)] = (job, attempt)
            for ended in wait(under_way, return_when=FIRST_COMPLETED).done:
                job, attempt = under_way.pop(ended)
                record = ended.result()
                store.record_boot(run_id, record)
                boots.append(record)
                pending = pending_jobs(prepared.jobs, boots)
                if no_boot_diagnosis(prepared.jobs, boots):
                    boots += _leave_out(run_id, store, pending, under_way.values())
                    pending = pending_jobs(prepared.jobs, boots)
                observer.boot_ended(job, record, len(pending))
                if record.verdict is Verdict.INTERRUPTED and attempt >= ATTEMPTS:
                    raise InfrastructureError(
                        f"boot {job.position} ({job.kernel}, {job.workload}) was spoiled {attempt} "
                        f"times, last: {record.reason}\n"
                        f"  mend it, then: vmapbench run --resume {run_id}"
                    )


def _leave_out(
    run_id: str,
    store: Store,
    pending: Sequence[tuple[JobRecord, int]],
    under_way: Iterable[tuple[JobRecord, int]],
) -> list[BootRecord]:
    """Keep of each job that has not begun that it was left out; return these records."""
    begun = {job.position for job, _ in under_way}
    left_out = [
        BootRecord(
            position=job.position,
            verdict=Verdict.SKIPPED,
            reason=f"left out: of {ENOUGH} boots before it none reached init",
            load_ns=None,
            elapsed_s=0.0,
            started_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            folder=f"logs/{job.position:04}-left-out",
        )
        for job, _ in pending
        if job.position not in begun
    ]
    for record in left_out:
        store.record_boot(run_id, record)
    return left_out


@contextlib.contextmanager
def _or_end(target: Target) -> Iterator[None]:
    """End the boots that are under way when something goes wrong."""
    try:
        yield
    except BaseException:
        target.close()
        raise


class _Here(Executor):
    """Does the work at once, in this thread: Ctrl-C ends it where it is."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """See `Executor.submit`; what `fn` raises is raised here."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _boot_once(
    job: JobRecord,
    attempt: int,
    prepared: Prepared,
    target: Target,
    folder: Path,
    observer: Observer,
    read_host: ReadHost,
    locate_stack: LocateStack,
) -> BootRecord:
    """Return the record of one boot, whatever became of it."""
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
    loads = [check_workload(load, prepared.modules[job.kernel]) for load in job.loads]
    request = _request(job, loads, prepared, folder / relative)
    before, own, began = read_host(), own_cpu_s(), time.monotonic()
    try:
        request.folder.mkdir(parents=True)
        result = target.boot(request, observer.phase)
    except InfrastructureError as error:
        return record(Verdict.INTERRUPTED, str(error), time.monotonic() - began)
    except OSError as error:
        return record(Verdict.INTERRUPTED, f"cannot keep logs below {folder}: {error}")
    elapsed_s = time.monotonic() - began
    noise = noise_between(before, read_host(), own_cpu_s() - own, elapsed_s, _host_cpus(result))
    log = result.kernel_log or read_console(result.console)
    findings = scan_console(log)
    splats = [finding for finding in findings if finding.severity is not Severity.NOTE]
    verdict, reason, samples = judge_boot(result, loads[-1], findings, job.cpus)
    limits = prepared.playbook.noise
    excess = noise.excess(limits) if target.disturbed_by_host else ""
    if verdict is Verdict.PASSED and excess:
        verdict, reason = Verdict.NOISY, excess
    facts = {
        **result.facts,
        "argv": list(result.argv),
        "machine": dict(target.machine()),
        "noise": noise.facts(),
        "noise_limits_needed": noise.limits_needed(limits) if excess else {},
        "memory_mib": request.memory_mib,
        "findings": [asdict(finding) for finding in findings],
        "reached_init": result.reached_init,
        "last_line": "" if result.reached_init else _last_line(log),
        "stack": dict(locate_stack([log], request.kernel)) if splats else {},
        "steady_loops": steady_loops(loads[-1].nr_threads, job.cpus),
    }
    return record(
        verdict,
        reason,
        elapsed_s,
        load_ns=result.load_ns[-1] if result.load_ns else None,
        facts=facts,
        samples=samples if verdict in (Verdict.PASSED, Verdict.NOISY) else (),
    )


def _request(
    job: JobRecord, loads: list[Workload], prepared: Prepared, folder: Path
) -> BootRequest:
    return BootRequest(
        kernel=prepared.kernels[job.kernel],
        cpus=job.cpus,
        loads=tuple(load.render_parameters() for load in loads),
        memory_mib=_memory_mib(job, prepared),
        expected_s=job.expected_s * len(loads),
        folder=folder,
        repeat=job.repeat,
    )


def _memory_mib(job: JobRecord, prepared: Prepared) -> int:
    """Return the memory of a job's guest: what the playbook says, or what its cases hold."""
    given = prepared.playbook.target.memory_mib
    if given or job.kernel in prepared.broken:
        return given or 1
    module = prepared.modules[job.kernel]
    return max(check_workload(load, module).memory_mib(job.cpus) for load in job.loads)


def _host_cpus(result: BootResult) -> int:
    return int(result.facts.get("host_cores", 1))


def _last_line(log: str) -> str:
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")


def read_console(console: Path) -> str:
    """Return what a kernel said on its console; a target that keeps none has an empty one."""
    return console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""


def judge_boot(
    result: BootResult, workload: Workload, findings: Sequence[Finding], cpus: int
) -> tuple[Verdict, str, tuple[Sample, ...]]:
    """Return the verdict on a boot once its log is read, why, and the samples of its last load.

    A kernel that warned, or that runs fewer than `cpus`, is no sample, however complete its numbers
    are.
    """
    if result.verdict is not Verdict.PASSED or result.kernel_log is None:
        return result.verdict, result.reason, ()
    online = int(result.facts.get("cpus", cpus))
    if online < cpus:
        return Verdict.INCOMPLETE, f"the kernel runs on {online} of {cpus} CPUs, see its log", ()
    runs = parse_log(result.kernel_log)
    if not runs:
        return Verdict.INCOMPLETE, "no line of test_vmalloc in the kernel log", ()
    run = runs[-1]
    missing = missing_lines(run, workload.nr_threads, workload.cases)
    if missing:
        more = f" (and {len(missing) - 3} more)" if len(missing) > 3 else ""
        return Verdict.INCOMPLETE, "; ".join(missing[:3]) + more, ()
    odd = [item for item in run.summaries if not _as_asked(item, workload)]
    if odd:
        return Verdict.INCOMPLETE, f"the log has counts that were not asked for: {odd[0]}", ()
    samples = run.summaries
    if verdict_of(findings) is not Verdict.PASSED:
        told = [item.name for item in findings if item.severity is not Severity.NOTE]
        return verdict_of(findings), f"the kernel reported: {', '.join(told[:5])}", samples
    failures = unexpected_failures(run.summaries)
    if failures:
        return Verdict.TEST_FAILED, "; ".join(failures[:3]), samples
    return Verdict.PASSED, "", samples


def _as_asked(summary: Sample, workload: Workload) -> bool:
    """Return whether a summary is of this workload: its loops, and a result for each pass."""
    results = summary.passed + summary.failed + (summary.xfailed or 0)
    asked = (workload.loops, workload.repeats)
    return (summary.loops, summary.repeat) == asked and results == summary.repeat
