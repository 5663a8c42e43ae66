"""Prepares a playbook: builds its kernels and checks every workload against each of them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.build.kconfig import critical_differences
from harness.build.kernel import BuiltKernel
from harness.errors import InputError, KernelBuildError
from harness.records import JobRecord
from harness.run.plan import guest_memory_mib, merge_faults, plan_jobs
from harness.spec.playbook import Playbook
from harness.targets.base import Target
from harness.testmod.modinfo import ModuleInfo, parse_modinfo
from harness.testmod.own import CASES, cases_module
from harness.testmod.workload import Workload, check_workload, unlike_defaults

BuildKernel = Callable[[str], BuiltKernel]
"""Returns the built kernel of that name; raises KernelBuildError or InputError."""


@dataclass(frozen=True)
class Prepared:
    """What is known before the first boot. `broken`: errors of kernels that do not build, by name.

    `checked`: cache of checked loads, by workload and kernel.
    """

    playbook: Playbook
    jobs: list[JobRecord]
    kernels: Mapping[str, BuiltKernel]
    modules: Mapping[str, ModuleInfo]
    broken: Mapping[str, str] = field(default_factory=dict)
    checked: dict[tuple[str, str], tuple[Workload, ...]] = field(default_factory=dict)

    def workloads(self, job: JobRecord) -> tuple[Workload, ...]:
        """Return the loads of a job, in order. Raises InputError with every fault, a line each."""
        point = (job.kernel, job.workload)
        if point not in self.checked:
            self.checked[point] = check_loads(job.loads, self._module(job))
        return self.checked[point]

    def kernel_for(self, job: JobRecord) -> BuiltKernel:
        """Return the kernel of a job, with the module that its workload names."""
        kernel = self.kernels[job.kernel]
        if self.playbook.workload(job.workload).own_cases and kernel.own_modules:
            return replace(kernel, module=kernel.own_modules / f"{CASES}.ko")
        return kernel

    def fragment_parameters(self, job: JobRecord) -> str:
        """Return the parameters of the module that fragments memory first, "" for none."""
        fragment = self.playbook.workload(job.workload).fragment
        return f"order={fragment.order} percent={fragment.percent}" if fragment else ""

    def _module(self, job: JobRecord) -> ModuleInfo:
        own = self.playbook.workload(job.workload).own_cases
        return cases_module() if own else self.modules[job.kernel]

    def memory_mib(self, job: JobRecord) -> int:
        """Return the memory of a job's guest (MiB): the playbook's, or what its cases need."""
        if job.kernel in self.broken:
            return self.playbook.target.memory_mib or 1
        page_size = self.kernels[job.kernel].page_size
        return guest_memory_mib(self.playbook, job, self.workloads(job), page_size)


def check_loads(loads: Sequence[Mapping[str, Any]], module: ModuleInfo) -> tuple[Workload, ...]:
    """Return the loads of a job, in order. Raises InputError with every fault, a line each."""
    workloads, faults = [], []
    for load in loads:
        try:
            workloads.append(check_workload(load, module))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    return tuple(workloads)


def prepare(playbook: Playbook, build: BuildKernel, target: Target) -> Prepared:
    """Check the target, build the kernels, check every workload against every module.

    Raises InputError for invalid input, before any boot; UnsupportedError if this machine cannot be
    the target, before any build. A kernel that does not build is a verdict of its boots, unless
    none builds.
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
    prepared = Prepared(playbook, plan_jobs(playbook), kernels, modules, broken)
    found = [(job, fault) for job in prepared.jobs for fault in _workload_faults(job, prepared)]
    faults = [*merge_faults(found).values()]
    faults += _unlike_defaults(prepared)
    if faults:
        raise InputError(
            "the playbook's workloads do not fit the kernels:\n  " + "\n  ".join(faults)
        )
    return prepared


def refuse_unlike_configs(playbook: Playbook, kernels: Mapping[str, BuiltKernel]) -> None:
    """Raise InputError if kernels differ in a critical symbol that the playbook does not allow."""
    differing = critical_differences({name: kernel.critical for name, kernel in kernels.items()})
    faults = [
        f"{symbol}: " + ", ".join(f"{name} has {value}" for name, value in row.items())
        for symbol, row in differing.items()
        if symbol not in playbook.allow_config_differences
    ]
    if faults:
        raise InputError(
            "the kernels' configurations differ in symbols that affect times:\n  "
            + "\n  ".join(faults)
            + "\n  next: give them equal values, or list the symbols in allow_config_differences"
        )


def _unlike_defaults(prepared: Prepared) -> list[str]:
    """Return the workloads without a parameter whose default differs between the modules."""
    faults = []
    for name, said in unlike_defaults(prepared.modules).items():
        values = ", ".join(f"{kernel} {value}" for kernel, value in said.items())
        left = {
            job.workload: None
            for job in prepared.jobs
            if any(name not in load for load in job.loads)
            and not prepared.playbook.workload(job.workload).own_cases
        }
        faults += [
            f"{workload}: it names no {name}, whose default differs between the modules: {values}; "
            "name it in the workload's parameters"
            + (", for example run_test_mask: 7" if name == "run_test_mask" else "")
            for workload in left
        ]
    return faults


def _workload_faults(job: JobRecord, prepared: Prepared) -> list[str]:
    if job.kernel in prepared.broken:
        return []
    given_mib, faults = prepared.playbook.target.memory_mib, []
    try:
        loads = prepared.workloads(job)
    except InputError as error:
        faults, loads = str(error).split("\n"), ()
    page_size = prepared.kernels[job.kernel].page_size
    needs = [load.memory_mib(job.cpus, page_size) for load in loads]
    unknown = dict.fromkeys(case for load in loads for case in load.unknown_cases)
    faults += [
        f"{case}: an unknown case, whose memory cannot be estimated; "
        "set the target's memory_mib, or add the case to harness/testmod/cases.py"
        for case in unknown
        if given_mib is None
    ]
    faults += [_memory_fault(given_mib, needed_mib, _room_mib(prepared)) for needed_mib in needs]
    return [fault for fault in faults if fault]


def _room_mib(prepared: Prepared) -> int | None:
    """Return the memory of this machine (MiB), None if a lab host is booted."""
    if prepared.playbook.target.remote:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def _memory_fault(given_mib: int | None, needed_mib: int, room_mib: int | None) -> str:
    """Return why a guest cannot have its memory, "" if it can."""
    if given_mib is not None and given_mib < needed_mib:
        return f"memory_mib: found {given_mib}, but its cases need up to {needed_mib} MiB"
    if room_mib is None or (given_mib or needed_mib) <= room_mib:
        return ""
    if given_mib is not None:
        return f"memory_mib: found {given_mib}, but this machine has {room_mib} MiB"
    return (
        f"its cases need up to {needed_mib} MiB, but this machine has {room_mib}: "
        "use fewer nr_threads, fewer pages or other cases"
    )
