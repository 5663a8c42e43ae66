"""What a bisection goes over: the changes from GOOD to BAD, and the boot that each would have."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.analysis.bisection import SearchBounds, step_count
from harness.analysis.times import WHOLE_LOAD
from harness.build.cache import Cache, cache_folder
from harness.build.history import SourceRange, commit_history, series_history
from harness.build.kernel import BuiltKernel
from harness.build.module import with_module_of
from harness.errors import InputError
from harness.process import Runner
from harness.records import JobRecord
from harness.run.plan import plan_jobs, planned_request, point_names
from harness.run.prepare import BuildKernel
from harness.run.session import Session
from harness.spec.kernel import GitSource, KernelSpec, TreeSource, load_kernel_spec
from harness.spec.playbook import Playbook


@dataclass(frozen=True)
class Order:
    """What is asked. `bad`: a commit, or a series of patches (then `good` may name a kernel file).

    `tree`: git tree, by default that of the kernel's source; `kernel`: the kernel file that says
    how to configure, by default the playbook's baseline; `workload`: by default its first.
    """

    good: str
    bad: str
    tree: str = ""
    kernel: str = ""
    workload: str = ""
    case: str = WHOLE_LOAD
    bounds: SearchBounds = field(default_factory=SearchBounds)


@dataclass(frozen=True)
class Course:
    """What can be bisected: the changes in order and the boot that each of them would have."""

    order: Order
    playbook: Playbook  # its kernels are the changes, its baseline is GOOD
    history: SourceRange
    job: JobRecord
    repeats: int  # of the playbook as it was written

    @property
    def commits(self) -> int:
        """The number of the last change, BAD; GOOD is number 0."""
        return len(self.history.changes) - 1


def plan_course(
    playbook: Playbook, order: Order, kernels: Path, cache: Cache, runner: Runner
) -> Course:
    """Return the course of a bisection. Raises InputError; builds and boots nothing."""
    history = find_history(playbook, order, kernels, cache, runner)
    names = history.names
    update = {"kernels": names, "baseline": names[0], "name": f"bisect-{playbook.name}"[:64]}
    derived = playbook.model_copy(update=update)
    known = point_names(playbook)
    wanted = order.workload or known[0]
    for job in plan_jobs(derived.model_copy(update={"kernels": names[:1], "repeats": 1})):
        if job.workload == wanted:
            return Course(order, derived, history, job, playbook.repeats)
    raise InputError(f"--workload: found {wanted!r}, expected one of {', '.join(known)}")


def find_history(
    playbook: Playbook, order: Order, kernels: Path, cache: Cache, runner: Runner
) -> SourceRange:
    """Return the changes from GOOD to BAD: patches where BAD is a path, else commits."""
    recipe = load_kernel_spec(order.kernel or playbook.baseline, kernels)
    series = Path(order.bad)
    if not series.exists() and Path(order.good).exists():
        raise InputError(
            f"bisecting: {order.good} is GOOD and a file here, and {order.bad} is none\n"
            f"  next: patches are BAD, what they apply to is GOOD: vmapbench bisect {order.bad} "
            f"{order.good} ..."
        )
    if not series.exists():
        return commit_history(recipe, _tree(order, recipe), order.good, order.bad, cache, runner)
    if (kernels / f"{order.good}.yaml").is_file():
        return series_history(load_kernel_spec(order.good, kernels), series, cache, runner)
    source = GitSource(git=str(_tree(order, recipe).absolute()), ref=order.good)
    return series_history(recipe.model_copy(update={"source": source}), series, cache, runner)


def _tree(order: Order, recipe: KernelSpec) -> Path:
    named = order.tree
    if not named and isinstance(recipe.source, GitSource):
        named = str(recipe.folder / recipe.source.git)
    if not named and isinstance(recipe.source, TreeSource):
        named = str(recipe.folder / recipe.source.tree)
    if not named or not Path(named).is_dir():
        raise InputError(
            f"bisecting commits: found no git tree {named!r}: kernel {recipe.name} does not come "
            "from one on this machine\n  next: name it with --tree, or bisect a folder of patches"
        )
    return Path(named).resolve()


def course_builder(course: Course, session: Session) -> BuildKernel:
    """Return what builds a change by its name."""
    cache, numbers = Cache(cache_folder()), {n: i for i, n in enumerate(course.history.names)}

    def build(name: str) -> BuiltKernel:
        spec = course.history.spec(numbers[name])
        built = session.build(spec, cache, session.runner, session.build_progress)
        if name == course.playbook.baseline or course.playbook.module_source == "own":
            return built
        return with_module_of(built, build(course.playbook.baseline), cache, session.runner)

    return build


def kept_order(course: Course) -> dict[str, Any]:
    """Return what is kept with the run's plan, for resumption and for readers."""
    order = asdict(course.order)
    if Path(order["bad"]).exists():
        order["bad"] = str(Path(order["bad"]).absolute())
    elif course.order.bad:
        changes = course.history.changes
        order |= {"good": changes[0].id, "bad": changes[-1].id}  # branches move
        order["tree"] = str(Path(order["tree"]).absolute()) if order["tree"] else ""
    titles = [change.title for change in course.history.changes]
    return {"bisect": {"order": order, "names": list(course.history.names), "titles": titles}}


def plan_lines(course: Course, session: Session) -> list[str]:
    """Return what a bisection would do; builds and boots nothing."""
    changes, job = course.history.changes, course.job
    spec = course.history.spec(0)
    request = planned_request(spec, job, course.playbook.target)
    target = session.target_for(course.playbook.target, [spec])
    lines = [f"{change.name}  {change.title}" for change in changes]
    lines.append(
        f"{course.commits} changes: first {changes[0].name} (GOOD) and {changes[-1].name} (BAD) in "
        f"turn until they differ, then {step_count(course.commits)} steps"
    )
    lines.append(f"{job.workload}, {course.order.case}: {'; '.join(request.loads)}")
    return lines + ["    " + " ".join(argv) for argv in target.command_lines(request)]
