"""Plans the boots of a playbook, in the order in which they run. Pure."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.build.kernel import BuiltKernel
from harness.records import JobRecord
from harness.spec.kernel import KernelSpec
from harness.spec.playbook import ParameterValue, Playbook, WorkloadSpec, expand_sweep
from harness.targets.base import BootRequest
from harness.testmod.workload import Workload, assumed_workload


def plan_jobs(playbook: Playbook) -> list[JobRecord]:
    """Return the boots of `playbook`, in blocks of one repeat each.

    Within a block every kernel meets every workload once, in a random order that depends only on
    the seed, so that slow drift of the machine affects both sides alike (a randomised block
    design). With `design: blocks` every second block has the reversed order of the one before (AB,
    BA): with random order, three pairs would have the same order in one run of four, and drift
    within a pair would look like a difference.
    """
    points = [
        (kernel, *point)
        for workload in playbook.workloads
        for point in _points(playbook, workload)
        for kernel in playbook.kernels
    ]
    generator = random.Random(playbook.seed)  # noqa: S311  (an order, not a secret)
    jobs: list[JobRecord] = []
    for repeat in range(playbook.repeats):
        block = [
            JobRecord(
                position=0,
                kernel=kernel,
                workload=name,
                cpus=cpus,
                nr_threads=int(loads[-1].get("nr_threads", 1)),
                loads=loads,
                repeat=repeat,
                expected_s=expected_s,
            )
            for kernel, name, cpus, loads, expected_s in points
        ]
        if playbook.design == "blocks" and repeat % 2:
            block = [replace(job, repeat=repeat) for job in reversed(jobs[-len(block) :])]
        else:
            generator.shuffle(block)
        if playbook.design == "blocks":  # kernels of one workload follow each other: a pair
            places = {name: place for place, name in enumerate(dict.fromkeys(map(_point, block)))}
            block.sort(key=lambda job: places[_point(job)])
        jobs += block
    return [replace(job, position=position) for position, job in enumerate(jobs)]


def point_names(playbook: Playbook) -> list[str]:
    """Return the names of the points of all workloads, in the order of the playbook."""
    return [name for load in playbook.workloads for name, *_ in _points(playbook, load)]


def merge_faults(faults: Iterable[tuple[JobRecord, str]]) -> dict[str, str]:
    """Return, for each distinct fault, a line with the workloads and kernels that have it.

    An error of a workload is found at each point of its sweep, for each kernel.
    """
    found: dict[str, list[JobRecord]] = {}
    for job, fault in faults:
        found.setdefault(fault, []).append(job)
    lines = {}
    for fault, jobs in found.items():
        first, *others = dict.fromkeys(job.workload for job in jobs)
        more = f" and {len(others)} more" if others else ""
        kernels = ", ".join(dict.fromkeys(job.kernel for job in jobs))
        lines[fault] = f"{first}{more} on {kernels}: {fault}"
    return lines


def _point(job: JobRecord) -> tuple[str, int]:
    return job.workload, job.cpus


def _points(
    playbook: Playbook, workload: WorkloadSpec
) -> list[tuple[str, int, tuple[Mapping[str, ParameterValue], ...], float]]:
    """Return (name, cpus, loads, expected seconds) for each point of the workload's sweeps."""
    points: list[tuple[str, int, tuple[Mapping[str, ParameterValue], ...], float]] = []
    for cpus in workload.cpus or (playbook.target.cpus,):
        for parameters in expand_sweep(workload):
            measured = _resolve(parameters, cpus)
            varied = {name: measured[name] for name in workload.sweep}
            warmup = workload.warmup_parameters
            loads = (*([_resolve(warmup, cpus)] if warmup is not None else []), measured)
            if workload.cpus:
                varied = {"cpus": cpus, **varied}
            suffix = ",".join(f"{name}={value}" for name, value in varied.items())
            name = f"{workload.name}[{suffix}]" if suffix else workload.name
            points.append((name, cpus, loads, workload.expected_s))
    return points


def _resolve(parameters: Mapping[str, ParameterValue], cpus: int) -> dict[str, ParameterValue]:
    """Return the parameters with the word `cpus` replaced by the number."""
    return {name: cpus if value == "cpus" else value for name, value in parameters.items()}


def guest_memory_mib(
    playbook: Playbook, job: JobRecord, loads: Sequence[Workload], page_size: int
) -> int:
    """Return the memory of a job's guest: the playbook's, or what its `loads` need."""
    if playbook.target.memory_mib:
        return playbook.target.memory_mib
    fragment = playbook.workload(job.workload).fragment
    needed = max(load.memory_mib(job.cpus, page_size) for load in loads)
    return int(needed / (1 - (fragment.share_kept if fragment else 0.0)))


def planned_request(
    spec: KernelSpec, job: JobRecord, playbook: Playbook, loads: Sequence[Workload] = ()
) -> BootRequest:
    """Return the boot of a job as far as it is known before a build, for a dry run.

    `loads`: the checked loads of the job; without them its parameters are used unchecked.
    """
    loads = loads or [assumed_workload(load) for load in job.loads]
    return BootRequest(
        kernel=BuiltKernel.at(Path(spec.name), spec),
        cpus=job.cpus,
        loads=tuple(load.render_parameters() for load in loads),
        memory_mib=guest_memory_mib(playbook, job, loads, spec.arch.page_sizes[0]),
        expected_s=job.expected_s * len(job.loads),
        folder=Path("BOOT-FOLDER"),
        repeat=job.repeat,
    )
