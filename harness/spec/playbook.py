"""Playbooks: which kernels to compare, on which target, under which workloads, how often."""

import itertools
import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Field, model_validator

from harness.errors import InputError
from harness.spec.document import Document, load_document
from harness.spec.kernel import Name
from harness.spec.shipped import find_playbook, shipped_names
from harness.spec.target import CpuCount, TargetSpec, target_specs

ParameterValue = bool | int | str
_BOOTS = 100_000  # the most of one playbook: over two months at one minute each

if TYPE_CHECKING:
    AnyTarget = TargetSpec
else:
    AnyTarget = Annotated[Union[target_specs()], Field(discriminator="kind")]  # noqa: UP007


class FragmentSpec(Document):
    """Breaks free memory into small blocks before the load, the same way in each boot.

    Single unmovable pages are kept allocated until the load has ended.
    """

    order: Annotated[int, Field(ge=1, le=10)] = 4
    """One page of each 2^order is kept, so that no free block is as large. Example: `4`"""
    percent: Annotated[int, Field(ge=1, le=95)] = 80
    """Share of the free memory that is fragmented. Example: `80`"""

    @property
    def share_kept(self) -> float:
        """The share of the free memory that stays allocated."""
        return self.percent / 100 / float(2**self.order)


class WorkloadSpec(Document):
    """Parameters of one load of the module. Each combination of a sweep is one workload.

    `parameters` and `sweep` are checked against the kernels' sources before any build, and against
    the modules' .modinfo before any boot. `cpus` sweeps the machine's size; the parameter value
    "cpus" stands for that size.
    """

    name: Name
    """Name of the workload in results. Example: `fix-size`"""
    module: Literal["test_vmalloc", "vmapbench_cases"] = "test_vmalloc"
    """The module whose cases run: the kernel's own, or vmapbench's. Example: `vmapbench_cases`"""
    fragment: FragmentSpec | None = None
    """Fragments the free memory first. Example: `{order: 4, percent: 80}`"""
    parameters: dict[str, ParameterValue] = Field(default_factory=dict)
    """Parameters of the module; the word `cpus` stands for the CPU count. Example: `{nr_threads:
    cpus, run_test_mask: 7}`
    """
    sweep: dict[str, tuple[ParameterValue, ...]] = Field(default_factory=dict)
    """Several values of parameters; each combination is one workload. Example: `{nr_pages: [1,
    16, 512]}`
    """
    cpus: tuple[CpuCount, ...] = ()
    """Machine sizes to sweep, in CPUs. Example: `[1, 16, 64]`"""
    warmup_parameters: dict[str, ParameterValue] | None = None  # a load that is run and discarded
    """A load that runs before the measured one, and is discarded. Example: `{run_test_mask: 1,
    test_loop_count: 100}`
    """
    expected_s: Annotated[float, Field(gt=0)] = 60.0  # of the test alone; sets the deadline
    """Seconds that the load is expected to take, for deadlines. Example: `300`"""

    @property
    def own_cases(self) -> bool:
        """Whether its cases are vmapbench's own, not those of the kernel's test_vmalloc."""
        return self.module == "vmapbench_cases"


class NoiseLimits(Document):
    """How much the host may be disturbed during a boot; shares are of all its CPU time."""

    other_share: Annotated[float, Field(ge=0)] = 0.15  # CPU time of programs that are not ours
    """Share of CPU time that other programs may use during a boot. Example: `0.05`"""
    steal_share: Annotated[float, Field(ge=0)] = 0.02  # taken by the hypervisor above
    """Share of CPU time that the hypervisor may steal. Example: `0.01`"""
    throttles: Annotated[int, Field(ge=0)] = 0  # thermal throttling events
    """Thermal throttling events that a boot may see. Example: `0`"""


class Playbook(Document):
    """One comparison: kernels, a target, workloads, and how many boots of each."""

    version: Literal[1]
    """Version of the format. Example: `1`"""
    name: Name
    """The name of the file, without .yaml. Example: `smoke`"""
    question: str = ""
    """The question that the comparison answers. Example: `Do the vmap nodes cost anything on one
    CPU?`
    """
    kernels: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Names of the kernels that are compared. Example: `[single-node, vmap-nodes]`"""
    baseline: Name
    """The kernel that the others are compared with. Example: `single-node`"""
    target: AnyTarget
    """Where kernels are booted; `kind` says which. Example: `{kind: qemu, cpus: 2}`
    """
    workloads: Annotated[tuple[WorkloadSpec, ...], Field(min_length=1)]
    """The workloads; each boot runs one. Example: `[{name: quick, parameters: {run_test_mask:
    7}}]`
    """
    repeats: Annotated[int, Field(ge=1, le=1000)] = 3
    """Boots of each kernel under each workload. Example: `5`"""
    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the order of boots and of resampling. Example: `20240102`"""
    smallest_effect: Annotated[float, Field(ge=0, le=0.5)] = 0.005
    """Changes below this share are not called faster or slower. Example: `0.01`"""
    design: Literal["independent", "blocks"] = "independent"
    """`blocks`: the boots of a repeat run together and are analysed as pairs. Example: `blocks`"""
    allow_config_differences: tuple[str, ...] = ()
    """Symbols that matter to times, but may differ between the kernels. Example:
    `[PREEMPT_VOLUNTARY]`
    """
    module_source: Literal["own", "same"] = "own"  # same: the baseline's test_vmalloc.c for all
    """`same` builds the baseline's test_vmalloc.c for every kernel. Example: `same`"""
    noise: NoiseLimits = NoiseLimits()
    """How much disturbance makes a boot noisy, to be repeated. Example: `{other_share: 0.05}`
    """
    fallback: Name | None = None  # playbook for machines that cannot be the target
    """A playbook to run instead where the target is not possible. Example: `smoke`"""
    text: str = ""  # the file as it was read, kept with the results
    """The file as it was read."""

    def workload(self, point: str) -> WorkloadSpec:
        """Return the workload of a point of its sweep, like `name[nr_pages=4]`."""
        name = point.partition("[")[0]
        return next(workload for workload in self.workloads if workload.name == name)

    @property
    def needs_own_modules(self) -> bool:
        """Whether a workload needs modules that come with vmapbench, not with the kernel."""
        return any(w.fragment or w.own_cases for w in self.workloads)

    def line_of(self, key: str) -> int:
        """Return the first line of the file that sets `key`, 1 if none does."""
        pattern = re.compile(rf"(?<![\w-]){re.escape(key)}[\"']?\s*:")
        lines = enumerate(self.text.splitlines(), start=1)
        return next((number for number, line in lines if pattern.search(line)), 1)

    @model_validator(mode="after")
    def _names_agree(self) -> "Playbook":
        if self.baseline not in self.kernels:
            raise ValueError(f"baseline {self.baseline!r} is not among kernels {self.kernels}")
        for what, names in (
            ("kernels", self.kernels),
            ("workloads", tuple(workload.name for workload in self.workloads)),
        ):
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            if twice:
                raise ValueError(f"{what} named twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _boots_can_end(self) -> "Playbook":
        points = sum(
            math.prod(map(len, workload.sweep.values())) * max(1, len(workload.cpus))
            for workload in self.workloads
        )
        boots = points * len(self.kernels) * self.repeats
        if boots > _BOOTS:
            raise ValueError(
                f"it asks for {boots:,} boots ({points:,} workloads with their sweeps x "
                f"{len(self.kernels)} kernels x {self.repeats} repeats), at most {_BOOTS:,} are "
                "allowed; sweep fewer values, or split the playbook"
            )
        return self


def load_playbook(path: Path) -> Playbook:
    """Return the playbook that `path` means to `find_playbook`. Raises InputError or SpecError."""
    path = find_playbook(path)
    if not path.exists():
        known = ", ".join(shipped_names("playbooks"))
        raise InputError(f"no playbook {path}: there is no such file; shipped are {known}")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return load_document(path, Playbook, name=path.stem, text=text)


def on_host(playbook: Playbook, host: str | None) -> Playbook:
    """Return `playbook` with `host` as its lab host; None leaves it unchanged.

    Raises InputError when its target is no lab host.
    """
    if host is None:
        return playbook
    if not playbook.target.remote:
        raise InputError(f"playbook {playbook.name}: its target is no lab host (kind: ssh)")
    return playbook.model_copy(update={"target": playbook.target.model_copy(update={"host": host})})


def expand_sweep(workload: WorkloadSpec) -> list[dict[str, ParameterValue]]:
    """Return one parameter set per combination of the sweep, in the file's order."""
    names = list(workload.sweep)
    return [
        {**workload.parameters, **dict(zip(names, values, strict=True))}
        for values in itertools.product(*(workload.sweep[name] for name in names))
    ]
