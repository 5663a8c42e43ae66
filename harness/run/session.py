"""Runs playbooks with their kernels, target and store."""

import contextlib
import datetime as dt
import functools
import importlib
import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.build.kernel import BuildProgress, BuiltKernel, ensure_kernel
from harness.build.module import with_module_of, with_own_modules
from harness.build.module_source import source_module
from harness.build.patches import flat_name
from harness.build.stack import locate_stack
from harness.errors import InfrastructureError, InputError, KernelBuildError, SpecError
from harness.locks import exclusive_lock
from harness.process import Runner, SubprocessRunner
from harness.records import JobRecord
from harness.run.begin import begin_run
from harness.run.execute import Execution, ReadHost, run_pending
from harness.run.explain import explain_run, refuse_unexplained
from harness.run.noise import read_host_state
from harness.run.observer import Observer
from harness.run.plan import merge_faults, plan_jobs, planned_request
from harness.run.prepare import BuildKernel, Prepared, check_loads, prepare
from harness.spec.architecture import Architecture
from harness.spec.document import parse_document
from harness.spec.kernel import KernelSpec, load_kernel_spec, one_architecture
from harness.spec.playbook import Playbook, load_playbook, on_host
from harness.spec.shipped import find_playbook
from harness.spec.target import TargetSpec
from harness.store.store import Store, open_store
from harness.targets.base import Target
from harness.testmod.own import cases_module
from harness.testmod.workload import Workload


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `interrupted`: by the user; the boots so far are in the store.

    `unexplained`: a sentence for each kernel whose extra boot failed.
    """

    run_id: str
    interrupted: bool
    unexplained: tuple[str, ...] = ()


def make_target(spec: TargetSpec, cache: Path, runner: Runner, arch: Architecture) -> Target:
    """Return the target of a playbook for kernels of `arch`, from harness.targets.KIND.target."""
    module = importlib.import_module(f"harness.targets.{spec.kind}.target")
    target: Target = module.make_target(spec, cache, runner, arch)
    return target


def store_location(reports: Path) -> Path | str:
    """Return the store: VMAPBENCH_STORE (a database URL), or a file in `reports`."""
    return os.environ.get("VMAPBENCH_STORE") or reports / "vmapbench.db"


@dataclass
class Session:
    """Runs playbooks. `build_progress` gets the progress of kernel builds; `now` dates the runs."""

    kernels: Path
    reports: Path
    observer: Observer
    build_progress: Callable[[BuildProgress], None] = lambda _: None
    runner: Runner = field(default_factory=SubprocessRunner)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    target: Callable[[TargetSpec, Path, Runner, Architecture], Target] = make_target
    build: Callable[..., BuiltKernel] = ensure_kernel
    read_host: ReadHost = read_host_state
    cache: Cache = field(default_factory=lambda: Cache(cache_folder()))

    @property
    def folder_options(self) -> str:
        """The options for this session's folders, if they are not the default ones."""
        given = {"--kernels": (self.kernels, "kernels"), "--reports": (self.reports, "reports")}
        return "".join(
            f" {option} {shlex.quote(str(folder))}"
            for option, (folder, usual) in given.items()
            if folder != Path(usual)
        )

    def open_store(self) -> Store:
        """Open the store of this session's results, and create it if there is none."""
        return open_store(store_location(self.reports))

    def specs(self, playbook: Playbook) -> list[KernelSpec]:
        """Return the kernel files of a playbook. Raises InputError."""
        return [load_kernel_spec(name, self.kernels) for name in playbook.kernels]

    def target_for(self, spec: TargetSpec, kernels: Iterable[KernelSpec]) -> Target:
        """Return the target that `spec` describes, for `kernels`. Raises InputError."""
        return self.target(spec, self.cache.folder, self.runner, one_architecture(kernels))

    def plan_lines(
        self, file: Path, host: str | None = None, repeats: int | None = None
    ) -> list[str]:
        """Return the plan of a playbook: one line per boot, with its command line.

        Nothing is built or booted; kernels that are not built are shown by name. `repeats`: number
        of repeats to show; the others have the same boots in another order.
        """
        playbook = on_host(load_playbook(file), host)
        specs = {spec.name: spec for spec in self.specs(playbook)}
        workloads = source_workloads(playbook, specs.values(), self.cache, self.runner)
        target = self.target_for(playbook.target, specs.values())
        lines = []
        for job in plan_jobs(playbook):
            if repeats is not None and job.repeat >= repeats:
                break
            checked = workloads.get((job.kernel, job.workload), ())
            request = planned_request(specs[job.kernel], job, playbook, checked)
            loads = "; ".join(request.loads)
            lines.append(f"boot {job.position}: {job.kernel}, {job.workload}: {loads}")
            lines += [f"    {shlex.join(argv)}" for argv in target.command_lines(request)]
        return lines

    def run(
        self,
        file: Path,
        host: str | None = None,
        run_id: str | None = None,
        explain: bool = False,
    ) -> RunResult:
        """Run a playbook; `host` replaces its lab host, `run_id` names the run.

        `explain`: make extra boots that show why the kernels differ.
        """
        playbook = on_host(load_playbook(file), host)
        specs = self.specs(playbook)
        source_workloads(playbook, specs, self.cache, self.runner)
        target = self.target_for(playbook.target, specs)
        if explain:
            refuse_unexplained(target, playbook.target.kind)
        with contextlib.closing(self.open_store()) as store, contextlib.closing(target):
            prepared = prepare(playbook, self._builder(playbook), target)
            run_id = begin_run(prepared, store, now=self.now(), run_id=run_id)
            return self._run_pending(run_id, prepared, target, store, explain)

    def resume(self, word: str, explain: bool = False) -> RunResult:
        """Resume an interrupted run; `word` names it, as for `Store.resolve`.

        `explain`: as for `run`; possible for a complete run as well.

        Raises InputError if a kernel has changed since the run began.
        """
        where = store_location(self.reports)
        with contextlib.closing(open_store(where, must_exist=True)) as store:
            run_id = store.resolve(word)
            record = store.load_run(run_id)
            if "bisect" in record.plan:
                raise InputError(
                    f"{run_id} is a bisection\n"
                    f"  next: vmapbench bisect --resume {run_id}{self.folder_options}"
                )
            name = record.plan["name"]
            playbook = parse_document(
                record.playbook, Playbook, f"playbook of {run_id}", name=name, text=record.playbook
            )
            playbook = on_host(playbook, record.plan["target"].get("host"))
            target = self.target_for(playbook.target, self.specs(playbook))
            if explain:
                refuse_unexplained(target, playbook.target.kind)
            with contextlib.closing(target):
                prepared = prepare(playbook, self._builder(playbook), target)
                for kernel, facts in record.kernels.items():
                    built = prepared.kernels.get(kernel)
                    if built is None or built.key != facts["key"]:
                        raise InputError(
                            f"resuming {run_id}: kernel {kernel} has changed since the run began "
                            f"({facts['key'][:12]}); restore its files, or begin a new run"
                        )
                return self._run_pending(run_id, prepared, target, store, explain)

    def _run_pending(
        self, run_id: str, prepared: Prepared, target: Target, store: Store, explain: bool
    ) -> RunResult:
        folder = self.reports / run_id
        with lock_run(folder, run_id):
            keep_inputs(prepared, folder)
            failed: list[str] = []
            try:
                execution = self.execution(run_id, target, store)
                run_pending(execution, prepared)
                ended_at = self.now().astimezone(dt.UTC).isoformat(timespec="seconds")
                store.finish_run(run_id, ended_at)
                if explain:
                    failed = self.explain(execution, prepared, self._kernel_spec)
            except KeyboardInterrupt:
                return RunResult(run_id, interrupted=True)
        return RunResult(run_id, interrupted=False, unexplained=tuple(failed))

    def explain(
        self, execution: Execution, prepared: Prepared, spec_of: Callable[[str], KernelSpec]
    ) -> list[str]:
        """Make an extra boot of each kernel; return a sentence for each that failed.

        `spec_of`: the kernel file of a kernel name, to build it with what tracing needs.
        """
        try:
            execution.target.check_explaining()
            return explain_run(execution, self._explainable(prepared, execution.target, spec_of))
        except (InfrastructureError, InputError, KernelBuildError) as error:
            return [f"no kernel is explained: {error}"]

    def _kernel_spec(self, name: str) -> KernelSpec:
        return load_kernel_spec(name, self.kernels)

    def _explainable(
        self, prepared: Prepared, target: Target, spec_of: Callable[[str], KernelSpec]
    ) -> Prepared:
        """Return `prepared` with kernels whose boots on `target` can say where time goes."""
        added = target.explain_fragments
        if not added:
            return prepared

        def build(name: str) -> BuiltKernel:
            spec = spec_of(name)
            changed = {"fragments": tuple(dict.fromkeys((*spec.fragments, *added)))}
            return self.built(spec.model_copy(update=changed))

        playbook = prepared.playbook
        again = prepare(playbook, module_builder(build, playbook, self), target)
        return replace(again, jobs=prepared.jobs)

    def execution(self, run_id: str, target: Target, store: Store, verb: str = "run") -> Execution:
        """Return the execution of `run_id` on `target`, with this session's folder and observer.

        `verb`: the command that resumes it.
        """
        return Execution(
            run_id,
            target,
            store,
            self.reports / run_id,
            self.observer,
            self.read_host,
            functools.partial(locate_stack, runner=self.runner),
            verb,
            self.folder_options,
        )

    def build_kernel(self, name: str) -> BuiltKernel:
        """Return the built kernel of that name. Raises KernelBuildError or InputError."""
        return self.built(load_kernel_spec(name, self.kernels))

    def built(self, spec: KernelSpec) -> BuiltKernel:
        """Return the built kernel of `spec`. Raises KernelBuildError or InputError."""
        return self.build(spec, self.cache, self.runner, self.build_progress)

    def _builder(self, playbook: Playbook) -> Callable[[str], BuiltKernel]:
        """Return a function that builds a kernel of `playbook` with its modules, by name."""
        return module_builder(self.build_kernel, playbook, self)


def module_builder(build: BuildKernel, playbook: Playbook, session: Session) -> BuildKernel:
    """Wrap `build` so that it also builds the modules that a playbook needs."""

    def build_all(name: str) -> BuiltKernel:
        kernel = build(name)
        if playbook.module_source == "same":
            baseline = build(playbook.baseline)
            kernel = with_module_of(kernel, baseline, session.cache, session.runner)
        if playbook.needs_own_modules:
            kernel = with_own_modules(kernel, session.cache, session.runner)
        return kernel

    return build_all


def keep_inputs(prepared: Prepared, folder: Path) -> None:
    """Write the playbook and every kernel's configuration and patches to the run's folder."""
    configs, patches = folder / "configs", folder / "patches"
    for kept in (configs, patches):
        kept.mkdir(parents=True, exist_ok=True)
    (folder / "playbook.yaml").write_text(prepared.playbook.text, encoding="utf-8")
    for name, kernel in prepared.kernels.items():
        (configs / f"{name}.config").write_bytes(kernel.config.read_bytes())
        for patch in kernel.patches:
            source = kernel.spec.place(patch)
            if source.is_file():
                (patches / flat_name(patch)).write_bytes(source.read_bytes())


def lock_run(folder: Path, run_id: str) -> contextlib.AbstractContextManager[None]:
    """Lock the run for this process. Raises InputError where another process holds it."""
    return exclusive_lock(folder / ".lock", f"run {run_id} is being executed by another vmapbench")


def fallback_file(file: Path, name: str) -> Path:
    """Return the file of the fallback `name` of playbook `file`: beside it, or by name."""
    beside = find_playbook(file).with_name(f"{name}.yaml")
    return beside if beside.is_file() else find_playbook(Path(name))


def check_playbook(file: Path, kernels: Path) -> int:
    """Check a playbook and the kernel files it names; return the number of its boots.

    Raises InputError with every fault. Parameters and cases are checked against the kernels'
    sources; `prepare` checks them again, against the built modules.
    """
    playbook = load_playbook(file)
    faults = []
    for name in playbook.kernels:
        try:
            load_kernel_spec(name, kernels)
        except InputError as error:
            faults.append(f"1: kernels: {name}: {error}")
    if playbook.fallback and not fallback_file(file, playbook.fallback).is_file():
        faults.append(f"1: fallback: there is no {fallback_file(file, playbook.fallback)}")
    if faults:
        raise SpecError(file, faults)
    specs = [load_kernel_spec(name, kernels) for name in playbook.kernels]
    source_workloads(playbook, specs, Cache(cache_folder()), SubprocessRunner())
    return len(plan_jobs(playbook))


def source_workloads(
    playbook: Playbook, specs: Iterable[KernelSpec], cache: Cache, runner: Runner
) -> dict[tuple[str, str], tuple[Workload, ...]]:
    """Return the loads of each kernel and workload, as far as the sources of `specs` define them.

    Raises SpecError for parameters and cases that the source of a kernel's module does not have.
    """
    faults: list[tuple[JobRecord, str]] = []
    workloads = {}
    planned = [job for job in plan_jobs(playbook) if not job.repeat]
    by_name = {spec.name: spec for spec in specs}
    for name in playbook.kernels:
        taken_from = name if playbook.module_source == "own" else playbook.baseline
        kernels_own = source_module(by_name[taken_from], cache, runner)
        for job in planned:
            own = playbook.workload(job.workload).own_cases
            module = cases_module() if own else kernels_own
            if module is None or job.kernel != name:
                continue
            try:
                workloads[name, job.workload] = check_loads(job.loads, module)
            except InputError as error:
                faults += [(job, fault) for fault in str(error).split("\n")]
    lines = [
        f"{playbook.line_of(fault.partition(':')[0])}: {line}"
        for fault, line in merge_faults(faults).items()
    ]
    if lines:
        raise SpecError(f"{playbook.name}.yaml", lines)
    return workloads
