import re
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.run.plan import merge_faults, plan_jobs, planned_request, point_names
from harness.spec.document import parse_document
from harness.spec.kernel import DebianSource, KernelSpec
from harness.spec.playbook import Playbook
from harness.testmod.workload import assumed_workload


def playbook(seed=1, repeats=3, extra=""):
    return parse_document(
        f"""
version: 1
name: x
kernels: [a, b]
baseline: a
target: {{kind: qemu, cpus: 4}}
workloads:
  - name: w
    parameters: {{nr_threads: cpus}}
    sweep: {{test_loop_count: [10, 20]}}
    {extra}
repeats: {repeats}
seed: {seed}
""",
        Playbook,
    )


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_each_block_boots_each_kernel_once_per_workload(seed, repeats):
    jobs = plan_jobs(playbook(seed, repeats))
    assert [job.position for job in jobs] == list(range(4 * repeats))
    for repeat in range(repeats):
        block = [(j.kernel, j.workload) for j in jobs if j.repeat == repeat]
        assert len(block) == 4
        assert set(Counter(block).values()) == {1}


@given(st.integers(0, 10_000), st.integers(2, 7))
def test_every_other_block_has_the_order_of_the_one_before_turned_round(seed, repeats):
    planned = playbook(seed, repeats).model_copy(update={"design": "blocks"})
    jobs = plan_jobs(planned)
    for first, second in zip(jobs[::2], jobs[1::2], strict=True):
        assert (first.workload, first.repeat) == (second.workload, second.repeat)
        assert {first.kernel, second.kernel} == {"a", "b"}
    for workload in {job.workload for job in jobs}:
        first = [j.kernel for j in jobs if j.workload == workload][::2]
        assert all(a != b for a, b in zip(first[::2], first[1::2], strict=False))


def test_the_order_follows_from_the_seed_alone():
    assert plan_jobs(playbook(7)) == plan_jobs(playbook(7))
    orders = {tuple(j.kernel for j in plan_jobs(playbook(seed))) for seed in range(20)}
    assert len(orders) > 10


def test_a_fault_of_each_point_and_kernel_is_one_line():
    jobs = plan_jobs(playbook())
    [(fault, line)] = merge_faults((job, "colour: none") for job in jobs).items()
    assert fault == "colour: none"
    assert re.fullmatch(r"w\[test_loop_count=.0\] and 1 more on (a, b|b, a): colour: none", line)
    first, second = jobs[0], next(job for job in jobs if job.kernel != jobs[0].kernel)
    lines = merge_faults([(first, "colour: none"), (second, "size: none")])
    assert lines["size: none"] == f"{second.workload} on {second.kernel}: size: none"


def test_the_word_cpus_stands_for_their_number():
    assert {job.parameters["nr_threads"] for job in plan_jobs(playbook())} == {4}


def test_sweeping_cpus_names_and_sets_them():
    jobs = plan_jobs(playbook(extra="cpus: [1, 8]"))
    assert {(j.cpus, j.parameters["nr_threads"]) for j in jobs} == {(1, 1), (8, 8)}
    assert "w[cpus=8,test_loop_count=20]" in {job.workload for job in jobs}


def test_a_warm_up_is_a_load_of_its_own_before_the_measured_one():
    jobs = plan_jobs(playbook(extra="warmup_parameters: {nr_threads: cpus, run_test_mask: 1}"))
    assert all(len(job.loads) == 2 for job in jobs)
    assert jobs[0].loads[0] == {"nr_threads": 4, "run_test_mask": 1}


def test_points_are_named_in_the_order_of_the_playbook():
    swept = playbook(extra="cpus: [8, 1]")
    assert point_names(swept) == [
        f"w[cpus={cpus},test_loop_count={loops}]" for cpus in (8, 1) for loops in (10, 20)
    ]
    assert {job.workload for job in plan_jobs(swept)} == set(point_names(swept))


def test_a_planned_boot_has_the_loads_and_the_memory_of_the_real_one():
    source = DebianSource(debian="linux-source-6.12")
    spec = KernelSpec(version=1, name="a", source=source, folder=Path())
    planned = playbook(extra="warmup_parameters: {use_huge: true, nr_threads: 9}")
    job = plan_jobs(planned)[0]
    request = planned_request(spec, job, planned)
    loops = job.parameters["test_loop_count"]
    assert request.loads == (
        "sequential_test_order=Y use_huge=Y nr_threads=9",
        f"sequential_test_order=Y nr_threads=4 test_loop_count={loops}",
    )
    warmup = assumed_workload(job.loads[0])
    assert request.memory_mib == warmup.memory_mib(4) > 1024
    target = planned.target.model_copy(update={"memory_mib": 300})
    given = planned.model_copy(update={"target": target})
    assert planned_request(spec, job, given, [warmup]).memory_mib == 300
