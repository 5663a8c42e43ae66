"""Plans a bisection: the changes from GOOD to BAD, and the boot that tests one of them."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.analysis.bisection import step_count
from harness.analysis.bisection_ends import SearchBounds
from harness.analysis.times import WHOLE_LOAD
from harness.build.kernel import BuiltKernel
from harness.build.source_range import SourceRange, commit_range, patch_range
from harness.errors import InputError
from harness.records import JobRecord
from harness.run.plan import plan_jobs, planned_request, point_names
from harness.run.prepare import BuildKernel
from harness.run.session import Session, module_builder, source_workloads
from harness.spec.kernel import GitSource, KernelSpec, TreeSource, load_kernel_spec
from harness.spec.playbook import Playbook

_LAYOUT = ".layout"  # between the name of a change and the number of a layout


@dataclass(frozen=True)
class BisectRequest:
    """What the user asked for.

    `bad`: a commit, or a series of patches (then `good` may name a kernel file); `tree`: git tree,
    default: that of the kernel's source; `kernel`: the kernel file with the configuration, default:
    the playbook's baseline; `workload`: default: the playbook's first.
    """

    good: str
    bad: str
    tree: str = ""
    kernel: str = ""
    workload: str = ""
    case: str = WHOLE_LOAD
    bounds: SearchBounds = field(default_factory=SearchBounds)


@dataclass(frozen=True)
class BisectPlan:
    """The changes in order, GOOD first, and `job`: the boot that tests one of them."""

    request: BisectRequest
    playbook: Playbook  # its kernels are the changes, its baseline is GOOD
    source_range: SourceRange
    job: JobRecord
    repeats: int  # of the playbook as it was written

    @property
    def commits(self) -> int:
        """The number of the last change, BAD; GOOD is number 0."""
        return len(self.source_range.changes) - 1

    def kernel_name(self, number: int, layout: int) -> str:
        """Return the name of a build of a change: the change's own for layout 0."""
        name = self.source_range.names[number]
        return f"{name}{_LAYOUT}{layout}" if layout else name

    def build_of(self, kernel: str) -> tuple[int, int]:
        """Return change number and layout of a kernel name, the inverse of `kernel_name`."""
        numbers = {name: number for number, name in enumerate(self.source_range.names)}
        if kernel in numbers:
            return numbers[kernel], 0
        name, _, layout = kernel.rpartition(_LAYOUT)
        return numbers[name], int(layout)

    def spec(self, kernel: str) -> KernelSpec:
        """Return the kernel file of a kernel name."""
        number, layout = self.build_of(kernel)
        return self.source_range.spec(number).model_copy(update={"name": kernel, "layout": layout})


def plan_bisection(playbook: Playbook, request: BisectRequest, session: Session) -> BisectPlan:
    """Return the plan of a bisection, without builds and boots. Raises InputError."""
    changes = find_source_range(playbook, request, session)
    names = changes.names
    update = {"kernels": names, "baseline": names[0], "name": f"bisect-{playbook.name}"[:64]}
    derived = playbook.model_copy(update=update)
    known = point_names(playbook)
    wanted = request.workload or known[0]
    for job in plan_jobs(derived.model_copy(update={"kernels": names[:1], "repeats": 1})):
        if job.workload == wanted:
            return BisectPlan(request, derived, changes, job, playbook.repeats)
    raise InputError(f"--workload: found {wanted!r}, expected one of {', '.join(known)}")


def find_source_range(playbook: Playbook, request: BisectRequest, session: Session) -> SourceRange:
    """Return the changes from GOOD to BAD: patches if BAD is a path, otherwise commits."""
    kernels, cache, runner = session.kernels, session.cache, session.runner
    recipe = load_kernel_spec(request.kernel or playbook.baseline, kernels)
    series = Path(request.bad)
    if not series.exists() and Path(request.good).exists():
        raise InputError(
            f"bisecting: GOOD, {request.good}, is a file here, but BAD, {request.bad}, is not\n"
            f"  next: BAD is the patches, GOOD what they apply to: vmapbench bisect {request.bad} "
            f"{request.good} ..."
        )
    if not series.exists():
        return commit_range(
            recipe, _tree(request, recipe), request.good, request.bad, cache, runner
        )
    if (kernels / f"{request.good}.yaml").is_file():
        return patch_range(load_kernel_spec(request.good, kernels), series, cache, runner)
    source = GitSource(git=str(_tree(request, recipe).absolute()), ref=request.good)
    return patch_range(recipe.model_copy(update={"source": source}), series, cache, runner)


def _tree(request: BisectRequest, recipe: KernelSpec) -> Path:
    named = request.tree
    if not named and isinstance(recipe.source, GitSource):
        named = str(recipe.folder / recipe.source.git)
    if not named and isinstance(recipe.source, TreeSource):
        named = str(recipe.folder / recipe.source.tree)
    if not named or not Path(named).is_dir():
        raise InputError(
            f"bisecting commits: {named!r} is not a git tree: kernel {recipe.name} does not come "
            "from one on this machine\n  next: name it with --tree, or bisect a folder of patches"
        )
    return Path(named).resolve()


def change_builder(plan: BisectPlan, session: Session) -> BuildKernel:
    """Return the function that builds the kernel of a change by its name."""

    def build(name: str) -> BuiltKernel:
        return session.built(plan.spec(name))

    return module_builder(build, plan.playbook, session)


def stored_request(plan: BisectPlan) -> dict[str, Any]:
    """Return the request as stored with the run's plan, for resumption and for readers."""
    request = asdict(plan.request)
    if Path(request["bad"]).exists():
        request["bad"] = str(Path(request["bad"]).absolute())
    elif plan.request.bad:
        changes = plan.source_range.changes
        request |= {"good": changes[0].id, "bad": changes[-1].id}  # branches move
        request["tree"] = str(Path(request["tree"]).absolute()) if request["tree"] else ""
    titles = [change.title for change in plan.source_range.changes]
    return {"bisect": {"order": request, "names": list(plan.source_range.names), "titles": titles}}


def plan_lines(plan: BisectPlan, session: Session) -> list[str]:
    """Return the plan as text, without builds and boots."""
    changes, job = plan.source_range.changes, plan.job
    spec = plan.source_range.spec(0)
    playbook = plan.playbook.model_copy(update={"kernels": (job.kernel,)})
    loads = source_workloads(playbook, [spec], session.cache, session.runner)
    request = planned_request(spec, job, playbook, loads.get((job.kernel, job.workload), ()))
    target = session.target_for(plan.playbook.target, [spec])
    lines = [f"{change.name}  {change.title}" for change in changes]
    layouts = plan.request.bounds.layouts
    lines += [
        f"{plan.commits} changes, from {changes[0].name} (GOOD) to {changes[-1].name} (BAD)",
        f"first these two in turn, until they differ; up to {layouts} builds of each",
        f"then {step_count(plan.commits)} steps",
    ]
    lines.append(f"{job.workload}, {plan.request.case}: {'; '.join(request.loads)}")
    return lines + ["    " + " ".join(argv) for argv in target.command_lines(request)]
