"""Finds the change that shifted a time, by a run that plans its boots as it proceeds.

A bisection is one run of the store. The next boot follows from the boots that the run has
(harness/analysis/bisection.py), so an interrupted run resumes where it stopped.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.analysis.bisection import Phase, SearchState, decide
from harness.analysis.bisection_ends import SearchBounds, TimedBoot
from harness.analysis.times import Metric, boot_times
from harness.build.source_range import SourceChange
from harness.errors import InputError, KernelBuildError
from harness.records import JobRecord
from harness.run.begin import begin_run, kernel_facts
from harness.run.bisect_plan import (
    BisectPlan,
    BisectRequest,
    change_builder,
    plan_bisection,
    stored_request,
)
from harness.run.execute import Execution, pending_jobs, run_pending
from harness.run.explain import refuse_unexplained
from harness.run.prepare import BuildKernel, Prepared, prepare, refuse_unlike_configs
from harness.run.session import Session, keep_inputs, lock_run
from harness.spec.document import parse_document
from harness.spec.playbook import Playbook
from harness.targets.base import Target
from harness.testmod.modinfo import parse_modinfo
from harness.verdict import Verdict

SPOILED_JOBS = 2  # of a commit, each with several attempts, after which it is skipped


@dataclass(frozen=True)
class BisectionResult:
    """The state of a bisection. `skipped`: why changes cannot be tried, by number.

    `unexplained`: a sentence for each extra boot that failed.
    """

    run_id: str
    plan: BisectPlan
    state: SearchState
    skipped: Mapping[int, str]
    boots: int  # that passed
    interrupted: bool = False
    folder_options: str = ""  # of the command that resumes it
    unexplained: tuple[str, ...] = ()

    @property
    def suspects(self) -> list[SourceChange]:
        """The changes among which the first bad one is."""
        return [self.plan.source_range.changes[number] for number in self.state.suspects]


Notify = Callable[[BisectionResult], None]


def bisect(
    session: Session, plan: BisectPlan, notify: Notify, *, explain: bool = False
) -> BisectionResult:
    """Run a new bisection. `explain`: make extra boots that show why the first bad change is."""
    target = session.target_for(plan.playbook.target, [plan.source_range.spec(0)])
    if explain:
        refuse_unexplained(target, plan.playbook.target.kind)
    with contextlib.closing(session.open_store()) as store, contextlib.closing(target):
        build = change_builder(plan, session)
        prepared = prepare_ends(plan, build, target)
        run_id = begin_run(prepared, store, stored_request(plan))
        search = Search(session.execution(run_id, target, store, "bisect"), plan, build, notify)
        return _hold_and_search(search, prepared, session if explain else None)


def resume(
    session: Session, word: str, notify: Notify, *, explain: bool = False, **changed: int
) -> BisectionResult:
    """Resume a bisection; `word` names its run, `changed` replaces bounds that it was started with.

    `explain`: as for `bisect`; possible for a complete bisection as well.

    Raises InputError if the run is not a bisection, or its changes or kernels are different.
    """
    with contextlib.closing(session.open_store()) as store:
        run_id = store.resolve(word)
        record = store.load_run(run_id)
        kept = record.plan.get("bisect")
        if kept is None:
            raise InputError(
                f"{run_id} is not a bisection\n"
                f"  next: vmapbench run --resume {run_id}{session.folder_options}"
            )
        name = record.plan["name"].removeprefix("bisect-")
        playbook = parse_document(
            record.playbook, Playbook, f"playbook of {run_id}", name=name, text=record.playbook
        )
        bounds = SearchBounds(**kept["order"]["bounds"] | changed)
        request = BisectRequest(**kept["order"] | {"bounds": bounds})
        plan = plan_bisection(playbook, request, session)
        if list(plan.source_range.names) != kept["names"]:
            raise InputError(f"resuming {run_id}: its commits or patches have changed; begin anew")
        target = session.target_for(playbook.target, [plan.source_range.spec(0)])
        if explain:
            refuse_unexplained(target, playbook.target.kind)
        with contextlib.closing(target):
            build = change_builder(plan, session)
            prepared = prepare_ends(plan, build, target)
            for kernel in prepared.kernels.values():
                if kernel.key != record.kernels[kernel.spec.name]["key"]:
                    raise InputError(
                        f"resuming {run_id}: {kernel.spec.name} has changed since the run began; "
                        "restore the kernel's files, or begin a new bisection"
                    )
            execution = session.execution(run_id, target, store, "bisect")
            search = Search(execution, plan, build, notify)
            return _hold_and_search(search, prepared, session if explain else None)


def prepare_ends(plan: BisectPlan, build: BuildKernel, target: Target) -> Prepared:
    """Build GOOD and BAD and check the workload. Raises KernelBuildError if one fails."""
    names = plan.source_range.names
    ends = plan.playbook.model_copy(update={"kernels": (names[0], names[-1])})
    prepared = prepare(ends, build, target)
    if prepared.broken:
        raise KernelBuildError("\n".join(prepared.broken.values()))
    return replace(prepared, playbook=plan.playbook, jobs=[])


def _hold_and_search(
    search: "Search", prepared: Prepared, explaining: Session | None
) -> BisectionResult:
    """Search to the end, and let `explaining` say why the change is that was found."""
    run = search.run
    with lock_run(run.folder, run.run_id):
        try:
            outcome = search.run_to_end(prepared)
            ended_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            run.store.finish_run(run.run_id, ended_at)
            if explaining:
                failed = _explain_first_bad(explaining, search, outcome)
                outcome = replace(outcome, unexplained=tuple(failed))
        except KeyboardInterrupt:
            return replace(search.outcome(), interrupted=True)
    return outcome


def _explain_first_bad(session: Session, search: "Search", outcome: BisectionResult) -> list[str]:
    """Boot the first bad change and its parent once more; return what failed, in sentences."""
    if outcome.state.phase is not Phase.FOUND or len(outcome.suspects) != 1:
        return ["nothing is explained: no single change is named"]
    plan, number = search.plan, outcome.state.first_bad
    names = tuple(plan.kernel_name(each, 0) for each in (number - 1, number))
    playbook = plan.playbook.model_copy(update={"kernels": names, "baseline": names[0]})
    jobs = [replace(plan.job, kernel=name, repeat=0) for name in names]
    prepared = replace(prepare(playbook, search.build, search.run.target), jobs=jobs)
    return session.explain(search.run, prepared, plan.spec)


@dataclass
class Search:
    """A bisection in progress; its whole state is in the store."""

    run: Execution
    plan: BisectPlan
    build: BuildKernel
    notify: Notify

    def run_to_end(self, prepared: Prepared) -> BisectionResult:
        """Boot until the first bad change is found. Raises InputError if GOOD or BAD fails."""
        keep_inputs(prepared, self.run.folder)
        jobs, boots = self.run.store.jobs(self.run.run_id), self.run.store.boots(self.run.run_id)
        for job, _ in pending_jobs(jobs, boots):
            prepared = self._boot(job, prepared)
        while True:
            outcome = self.outcome()
            self.notify(outcome)
            number = outcome.state.next_commit
            if number is None:
                return outcome
            job = self._next_job(self.plan.kernel_name(number, outcome.state.next_layout))
            self.run.store.extend_run(self.run.run_id, [job], {})
            prepared = self._boot(job, prepared)

    def outcome(self) -> BisectionResult:
        """Return the result of the boots so far."""
        boots, skipped = self._boots(), self._skipped()
        for end, word in ((0, "GOOD"), (self.plan.commits, "BAD")):
            if end in skipped:
                name = self.plan.source_range.names[end]
                raise InputError(f"bisecting: {word}, {name}, cannot be measured: {skipped[end]}")
        state = decide(self.plan.commits, boots, skipped, self.plan.request.bounds)
        return BisectionResult(
            self.run.run_id,
            self.plan,
            state,
            skipped,
            len(boots),
            folder_options=self.run.folder_options,
        )

    def _boot(self, job: JobRecord, prepared: Prepared) -> Prepared:
        prepared = self._with(job.kernel, prepared)
        run_pending(self.run, replace(prepared, jobs=self.run.store.jobs(self.run.run_id)))
        return prepared

    def _with(self, name: str, prepared: Prepared) -> Prepared:
        """Build a kernel and add it to `prepared`, as broken if it cannot be compared."""
        if name in prepared.kernels or name in prepared.broken:
            return prepared
        try:
            kernel = self.build(name)
            good = prepared.kernels[self.plan.playbook.baseline]
            refuse_unlike_configs(self.plan.playbook, {good.spec.name: good, name: kernel})
        except (KernelBuildError, InputError) as error:
            return replace(prepared, broken={**prepared.broken, name: str(error)})
        self.run.store.extend_run(self.run.run_id, [], {name: kernel_facts(kernel)})
        found = replace(
            prepared,
            kernels={**prepared.kernels, name: kernel},
            modules={**prepared.modules, name: parse_modinfo(kernel.module.read_bytes())},
        )
        keep_inputs(found, self.run.folder)
        return found

    def _next_job(self, name: str) -> JobRecord:
        jobs = self.run.store.jobs(self.run.run_id)
        repeat = sum(job.kernel == name for job in jobs)
        return replace(self.plan.job, position=len(jobs), kernel=name, repeat=repeat)

    def _boots(self) -> list[TimedBoot]:
        """Return the boots that passed, in the order in which they ran, with their times."""
        frame = self.run.store.boots_frame(self.run.run_id)
        passed = frame[frame["verdict"] == Verdict.PASSED.value]
        times = boot_times(self.run.store.samples_frame(self.run.run_id), passed)
        case = self.plan.request.case
        rows = times[(times["case"] == case) & (times["metric"] != Metric.MAX)]
        if len(rows) < len(passed):
            known = ", ".join(sorted(set(times["case"])))
            raise InputError(f"--case: found {case!r}, expected one of {known}")
        ordered = rows.sort_values("boot")
        pairs = zip(ordered["kernel"], ordered["time_us"], strict=True)
        builds = [(*self.plan.build_of(str(name)), float(time_us)) for name, time_us in pairs]
        return [TimedBoot(number, time_us, layout) for number, layout, time_us in builds]

    def _skipped(self) -> dict[int, str]:
        """Return why changes cannot be tried, by number."""
        stored = self.run.store.stored_run(self.run.run_id)
        found: dict[int, str] = {}
        spoiled: dict[int, int] = {}
        for position, boot in stored.last_boots.items():
            number, layout = self.plan.build_of(stored.job_of[position].kernel)
            why = f"{boot.verdict}: {boot.reason}".partition("\n")[0]
            why += f" (with layout {layout})" if layout else ""
            if boot.verdict.final and boot.verdict is not Verdict.PASSED:
                found[number] = why
            elif not boot.verdict.final:
                spoiled[number] = spoiled.get(number, 0) + 1
                if spoiled[number] >= SPOILED_JOBS:
                    found[number] = why
        return found
