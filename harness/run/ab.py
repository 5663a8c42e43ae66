"""Makes a playbook and kernel files from two sides of a git tree and a few options.

    plan = plan_ab(sides, options, cache, runner)
    file = plan.write(folder)    # folder/ab.yaml, folder/kernels/
    session.run(file, ...)

The written files are complete: `vmapbench run` on them measures the same.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from harness.build.cache import Cache
from harness.build.sides import Sides, side_kernels
from harness.build.start_config import LOCALYES, is_defconfig, read_start_config
from harness.errors import InputError, ToolError
from harness.files import replace_file
from harness.process import Runner
from harness.spec.architecture import X86_64, Architecture
from harness.spec.document import parse_document
from harness.spec.host import host_files, load_host
from harness.spec.kernel import GitSource, KernelSpec
from harness.spec.playbook import Playbook
from harness.spec.shipped import shipped_folder
from harness.spec.target import TargetSpec
from harness.targets.accelerator import Kvm, find_kvm
from harness.targets.qemu.spec import QemuSpec
from harness.targets.simulated.spec import SimulatedSpec
from harness.targets.ssh.spec import SshSpec
from harness.testmod.cases import CASES, short_name
from harness.testmod.source import SOURCE_FILE, parse_module_source
from harness.testmod.workload import check_workload

THREADS = 16
LOOPS = 4000
BOOTS = 5
CASES_BY_DEFAULT = ("fix_size",)
FILE = "ab.yaml"
_EXPECTED_S = 300.0  # host seconds of 16 workers with 4000 loops of one case, on a busy machine
_X2APIC_CPUS = 256  # from this number on


@dataclass(frozen=True)
class Options:
    """How to measure. `on`: qemu, simulated, simulated:CPUS, a lab host, or empty for automatic.

    `threads` 0: the CPUs given by `on` or its host file, otherwise `THREADS`. `config`: a file, a
    defconfig of the tree, localyesconfig, or empty for that of the shipped kernels.
    """

    on: str = ""
    threads: int = 0
    cases: Sequence[str] = CASES_BY_DEFAULT
    loops: int = LOOPS
    boots: int = BOOTS
    config: str = ""
    arch: Architecture = X86_64


@dataclass(frozen=True)
class AbPlan:
    """A planned comparison. `where`: the target and the reason for it, as text."""

    playbook: Playbook
    recipe: KernelSpec
    sides: Sides
    where: str
    cache: Cache
    runner: Runner

    def heading(self) -> str:
        """Return the target and both sides as text, one line each."""
        sides = (("base", self.sides.base), ("change", self.sides.change))
        return "\n".join(
            [
                f"on {self.where}",
                *(f"{role}: {side.word} ({side.commit[:12]} {side.title})" for role, side in sides),
            ]
        )

    def write(self, folder: Path) -> Path:
        """Write playbook and kernel files below `folder`; return the playbook's path."""
        side_kernels(self.sides, self.recipe, folder / "kernels", self.cache, self.runner)
        replace_file(folder / FILE, self.playbook.text)
        return folder / FILE


def plan_ab(sides: Sides, options: Options, cache: Cache, runner: Runner) -> AbPlan:
    """Plan a comparison. Raises InputError for cases or parameters that the module lacks."""
    target, message = choose_target(
        options, lambda: find_kvm(cache.folder, runner, options.arch), _cores()
    )
    parameters: dict[str, int | bool] = {
        "nr_threads": options.threads or target.cpus,
        "run_test_mask": case_mask(options.cases, sides.read(SOURCE_FILE) or ""),
        "test_loop_count": options.loops,
        "sequential_test_order": True,
    }
    _check_parameters(parameters, sides)
    names = [f"base-{sides.base.commit[:12]}", f"change-{sides.change.commit[:12]}"]
    work = parameters["nr_threads"] * options.loops * len(options.cases) / (THREADS * LOOPS)
    document = {
        "version": 1,
        "question": f"What does {sides.change.word} change against {sides.base.word}?",
        "kernels": names,
        "baseline": names[0],
        "target": target.model_dump(mode="json", exclude_defaults=True),
        "workloads": [
            {
                "name": "-".join(map(short_name, options.cases))[:64],
                "parameters": parameters,
                "expected_s": round(_EXPECTED_S * max(1.0, work)),
            }
        ],
        "repeats": options.boots,
    }
    stream = io.StringIO()
    YAML(typ="safe").dump(document, stream)
    text = f"# Written by `vmapbench ab` in {sides.tree}.\n{stream.getvalue()}"
    playbook = parse_document(text, Playbook, FILE, name=Path(FILE).stem, text=text)
    return AbPlan(playbook, side_recipe(sides, target, options), sides, message, cache, runner)


def choose_target(
    options: Options, find: Callable[[], Kvm], cores: int
) -> tuple[QemuSpec | SimulatedSpec | SshSpec, str]:
    """Return the target of a comparison, and a description with the reason.

    The default is a guest under KVM if there is a core for each worker, otherwise the simulated
    machine, whose times do not depend on this one.
    """
    kind, _, number = options.on.partition(":")
    cpus = options.threads or THREADS
    if number and not (number.isdigit() and 1 <= int(number) <= 1024):
        raise InputError(f"--on: found {options.on!r}, expected simulated:CPUS with 1 to 1024 CPUs")
    if number and kind != "simulated":
        raise InputError(f"--on: found {options.on!r}; only `simulated` takes a number of CPUs")
    if kind == "simulated":
        return _simulated(int(number) if number else cpus, "as asked")
    if kind == "qemu":
        return QemuSpec(kind="qemu", cpus=cpus), f"a QEMU guest with {cpus} CPUs, as asked" + (
            "" if cpus <= cores else f"; with {cores} cores its times do not show contention"
        )
    if kind:
        if kind not in {path.stem for path in host_files()}:
            raise InputError(
                f"--on: {kind} is neither qemu, nor simulated[:CPUS], nor the name of a host file"
                "\n  next: `vmapbench host list` lists the lab hosts"
            )
        topology = load_host(kind).topology
        cpus = options.threads or (min(topology.cpus, 1024) if topology else THREADS)
        if topology and cpus > topology.cpus:
            raise InputError(f"--threads {cpus}: lab host {kind} has {topology.cpus} CPUs")
        return SshSpec(kind="ssh", host=kind, cpus=cpus), f"lab host {kind} with {cpus} CPUs"
    if options.arch is not X86_64:
        return QemuSpec(kind="qemu", cpus=cpus), (
            f"a QEMU guest with {cpus} CPUs: the simulated machine has no {options.arch.name}"
        )
    if cpus > cores:
        return _simulated(cpus, f"this machine has {cores} cores for {cpus} workers")
    try:
        kvm = find()
    except ToolError as error:
        return _simulated(cpus, str(error))
    if not kvm.usable:
        return _simulated(cpus, f"KVM: {kvm.state}")
    text = f"a KVM guest with {cpus} CPUs: this machine has {cores} cores"
    return QemuSpec(kind="qemu", cpus=cpus), text


def _simulated(cpus: int, why: str) -> tuple[SimulatedSpec, str]:
    target = SimulatedSpec(kind="simulated", cpus=cpus)
    return target, f"a simulated {target.machine} with {cpus} CPUs in virtual time: {why}"


def case_mask(cases: Sequence[str], source: str) -> int:
    """Return the run_test_mask of cases, named in long or short form, from the module's `source`.

    Raises InputError with the known names.
    """
    module = parse_module_source(source)
    known = module.cases if module and module.cases else {case.name: case.mask for case in CASES}
    bits = {name: bit for case, bit in known.items() for name in (case, short_name(case))}
    unknown = [case for case in cases if case not in bits]
    if unknown or not cases:
        have = ", ".join(short_name(case) for case in known)
        raise InputError(f"--cases: this tree has no {', '.join(unknown)}; it has {have}")
    mask = 0
    for case in cases:
        mask |= bits[case]
    return mask


def _check_parameters(parameters: Mapping[str, int | bool], sides: Sides) -> None:
    module = parse_module_source(sides.read(SOURCE_FILE) or "")
    if module is not None:
        check_workload(parameters, module)


def side_recipe(sides: Sides, target: TargetSpec, options: Options) -> KernelSpec:
    """Return the recipe of both sides. Raises InputError if `config` does not exist."""
    config, arch = options.config, options.arch
    fragments = [] if config else list(arch.fragments)
    if target.remote:
        fragments += arch.lab_fragments
    elif target.cpus >= _X2APIC_CPUS and arch is X86_64:
        fragments.append("fragments/x2apic.config")
    if config and config != LOCALYES and not is_defconfig(config):
        config = str(Path(config).expanduser().absolute())
    recipe = KernelSpec(
        version=1,
        name="recipe",
        architecture=arch.name,
        source=GitSource(git=str(sides.tree), ref=sides.base.commit),
        fragments=tuple(fragments),
        folder=shipped_folder() / "kernels",
    ).model_copy(update={"config": config})
    read_start_config(recipe)
    in_tree = is_defconfig(config) and config != "defconfig"
    place = f"arch/{arch.source}/configs"
    if in_tree and sides.read(f"{place}/{config}") is None:
        raise InputError(
            f"--config: the tree has no {place}/{config}\n"
            f"  next: `ls {place}`, or ./NAME for a file of yours"
        )
    return recipe


def _cores() -> int:
    return len(os.sched_getaffinity(0))
