"""Finds the change that moved a time: a run that plans its boots as it goes.

One bisection is one run of the store. What to boot next follows from the boots that the run has
(harness/analysis/bisection.py), so whatever ended the harness, the run goes on where it was.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from harness.analysis.bisection import SearchBounds, SearchState, TimedBoot, decide
from harness.analysis.times import Metric, boot_times
from harness.build.cache import Cache, cache_folder
from harness.build.history import SourceChange
from harness.errors import InputError, KernelBuildError
from harness.records import JobRecord
from harness.run.begin import begin_run, kernel_facts
from harness.run.course import Course, Order, course_builder, kept_order, plan_course
from harness.run.execute import Execution, carry_on, pending_jobs
from harness.run.prepare import BuildKernel, Prepared, prepare, refuse_unlike_configs
from harness.run.session import Session, claim_run, keep_inputs
from harness.spec.document import parse_document
from harness.spec.playbook import Playbook
from harness.targets.base import Target
from harness.testmod.modinfo import parse_modinfo
from harness.verdict import Verdict

SPOILED_JOBS = 2  # of a commit, each tried several times: then it is passed over


@dataclass(frozen=True)
class BisectionResult:
    """How a bisection stands. `skipped`: number of a change, and why it cannot be tried."""

    run_id: str
    course: Course
    state: SearchState
    skipped: Mapping[int, str]
    boots: int  # that passed
    interrupted: bool = False

    @property
    def suspects(self) -> list[SourceChange]:
        """The changes of which one is the first bad one."""
        return [self.course.history.changes[number] for number in self.state.suspects]


Tell = Callable[[BisectionResult], None]


def bisect(session: Session, course: Course, tell: Tell) -> BisectionResult:
    """Carry out a bisection from its first boot."""
    target = session.target_for(course.playbook.target, [course.history.spec(0)])
    with contextlib.closing(session.open_store()) as store, contextlib.closing(target):
        build = course_builder(course, session)
        prepared = prepare_ends(course, build, target)
        run_id = begin_run(prepared, store, kept_order(course))
        run = session.execution(run_id, target, store)
        return _hold_and_search(run, course, prepared, build, tell)


def resume(
    session: Session, word: str, tell: Tell, most_boots: int | None = None
) -> BisectionResult:
    """Go on with a bisection; `word` names its run, `most_boots` replaces the bound it began with.

    Raises InputError where it is another one.
    """
    with contextlib.closing(session.open_store()) as store:
        run_id = store.resolve(word)
        record = store.load_run(run_id)
        kept = record.plan.get("bisect")
        if kept is None:
            raise InputError(f"{run_id} is no bisection\n  next: vmapbench run --resume {run_id}")
        name = record.plan["name"].removeprefix("bisect-")
        playbook = parse_document(
            record.playbook, Playbook, f"playbook of {run_id}", name=name, text=record.playbook
        )
        bounds = SearchBounds(**kept["order"]["bounds"])
        bounds = replace(bounds, most_boots=most_boots or bounds.most_boots)
        order = Order(**kept["order"] | {"bounds": bounds})
        cache = Cache(cache_folder())
        course = plan_course(playbook, order, session.kernels, cache, session.runner)
        if list(course.history.names) != kept["names"]:
            raise InputError(f"resuming {run_id}: its commits or patches are no longer the same")
        target = session.target_for(playbook.target, [course.history.spec(0)])
        with contextlib.closing(target):
            build = course_builder(course, session)
            prepared = prepare_ends(course, build, target)
            for kernel in prepared.kernels.values():
                if kernel.key != record.kernels[kernel.spec.name]["key"]:
                    raise InputError(
                        f"resuming {run_id}: {kernel.spec.name} is no longer what it was; "
                        "put the kernel's files back, or begin a new bisection"
                    )
            run = session.execution(run_id, target, store)
            return _hold_and_search(run, course, prepared, build, tell)


def prepare_ends(course: Course, build: BuildKernel, target: Target) -> Prepared:
    """Build GOOD and BAD and check the workload. Raises KernelBuildError where one is broken."""
    names = course.history.names
    ends = course.playbook.model_copy(update={"kernels": (names[0], names[-1])})
    prepared = prepare(ends, build, target)
    if prepared.broken:
        raise KernelBuildError("\n".join(prepared.broken.values()))
    return replace(prepared, playbook=course.playbook, jobs=[])


def _hold_and_search(
    run: Execution,
    course: Course,
    prepared: Prepared,
    build: BuildKernel,
    tell: Tell,
) -> BisectionResult:
    with claim_run(run.folder, run.run_id):
        search = Search(run, course, build, tell)
        try:
            outcome = search.carry_out(prepared)
        except KeyboardInterrupt:
            return replace(search.outcome(), interrupted=True)
    run.store.finish_run(run.run_id, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    return outcome


@dataclass
class Search:
    """A bisection under way; everything that it knows is in the store."""

    run: Execution
    course: Course
    build: BuildKernel
    tell: Tell

    def carry_out(self, prepared: Prepared) -> BisectionResult:
        """Boot until the first bad change is known. Raises InputError where GOOD or BAD fails."""
        keep_inputs(prepared, self.run.folder)
        jobs, boots = self.run.store.jobs(self.run.run_id), self.run.store.boots(self.run.run_id)
        for job, _ in pending_jobs(jobs, boots):
            prepared = self._boot(job, prepared)
        while True:
            outcome = self.outcome()
            self.tell(outcome)
            number = outcome.state.next_commit
            if number is None:
                return outcome
            job = self._next_job(self.course.history.names[number])
            self.run.store.extend_run(self.run.run_id, [job], {})
            prepared = self._boot(job, prepared)

    def outcome(self) -> BisectionResult:
        """Return what the run's boots say so far."""
        boots, skipped = self._boots(), self._skipped()
        for end, word in ((0, "GOOD"), (self.course.commits, "BAD")):
            if end in skipped:
                name = self.course.history.names[end]
                raise InputError(f"bisecting: {word}, {name}, cannot be measured: {skipped[end]}")
        state = decide(self.course.commits, boots, skipped, self.course.order.bounds)
        return BisectionResult(self.run.run_id, self.course, state, skipped, len(boots))

    def _boot(self, job: JobRecord, prepared: Prepared) -> Prepared:
        prepared = self._with(job.kernel, prepared)
        carry_on(self.run, replace(prepared, jobs=self.run.store.jobs(self.run.run_id)))
        return prepared

    def _with(self, name: str, prepared: Prepared) -> Prepared:
        """Return `prepared` with one more kernel, built; what cannot be compared is broken."""
        if name in prepared.kernels or name in prepared.broken:
            return prepared
        try:
            kernel = self.build(name)
            good = prepared.kernels[self.course.playbook.baseline]
            refuse_unlike_configs(self.course.playbook, {good.spec.name: good, name: kernel})
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
        return replace(self.course.job, position=len(jobs), kernel=name, repeat=repeat)

    def _boots(self) -> list[TimedBoot]:
        """Return the boots that passed, in the order in which they ran, with their times."""
        frame = self.run.store.boots_frame(self.run.run_id)
        passed = frame[frame["verdict"] == Verdict.PASSED.value]
        times = boot_times(self.run.store.samples_frame(self.run.run_id), passed)
        case = self.course.order.case
        rows = times[(times["case"] == case) & (times["metric"] != Metric.MAX)]
        if len(rows) < len(passed):
            known = ", ".join(sorted(set(times["case"])))
            raise InputError(f"--case: found {case!r}, expected one of {known}")
        numbers = {name: number for number, name in enumerate(self.course.history.names)}
        ordered = rows.sort_values("boot")
        pairs = zip(ordered["kernel"], ordered["time_us"], strict=True)
        return [TimedBoot(numbers[str(name)], float(time_us)) for name, time_us in pairs]

    def _skipped(self) -> dict[int, str]:
        """Return the changes that cannot be tried, and why."""
        kernels = {job.position: job.kernel for job in self.run.store.jobs(self.run.run_id)}
        numbers = {name: number for number, name in enumerate(self.course.history.names)}
        boots = self.run.store.boots(self.run.run_id)
        last = {boot.position: boot for boot in boots}
        found: dict[int, str] = {}
        spoiled: dict[int, int] = {}
        for position, boot in last.items():
            number = numbers[kernels[position]]
            why = f"{boot.verdict}: {boot.reason}".partition("\n")[0]
            if boot.verdict.final and boot.verdict is not Verdict.PASSED:
                found[number] = why
            elif not boot.verdict.final:
                spoiled[number] = spoiled.get(number, 0) + 1
                if spoiled[number] >= SPOILED_JOBS:
                    found[number] = why
        return found
