import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ParameterError
from harness.testmod.cases import lazy_max_pages
from harness.testmod.modinfo import Parameter, parse_modinfo_text
from harness.testmod.workload import check_workload, steady_loops

CASES = ("fix_size", "full_fit", "long_busy_list", "random_size", "fix_align", "random_size_align")
MODULE = parse_modinfo_text(
    "name=test_vmalloc\0vermagic=6.12.0 SMP mod_unload \0"
    + "".join(
        f"parm={name}:about {name}\0parmtype={name}:{kind}\0"
        for name, kind in (
            ("nr_threads", "int"),
            ("sequential_test_order", "bool"),
            ("test_repeat_count", "int"),
            ("test_loop_count", "int"),
            ("nr_pages", "int"),
            ("use_huge", "bool"),
        )
    )
    + "parmtype=run_test_mask:int\0parm=run_test_mask:Set tests.\n\n"
    + "".join(f"\t\tid: {1 << bit}, name: {case}_alloc_test\n" for bit, case in enumerate(CASES))
)


def test_every_fault_is_named_at_once_with_what_is_allowed():
    with pytest.raises(ParameterError) as caught:
        check_workload({"threads": 4, "nr_threads": 0, "use_huge": 3, "nr_pages": "2"}, MODULE)
    words = str(caught.value).splitlines()
    assert len(words) == 4
    assert words[0].startswith(
        "threads: not a parameter of test_vmalloc; expected one of nr_pages, nr_thr"
    )
    assert words[1] == "nr_threads: found 0, expected 1 to 65535"
    assert words[2] == "use_huge: found 3, expected a bool (true or false)"
    assert words[3] == "nr_pages: found '2', expected a whole number (int)"


def test_a_mask_that_selects_nothing_is_refused_with_the_masks():
    with pytest.raises(ParameterError, match=r"64 selects no case.*1 fix_size_alloc_test"):
        check_workload({"run_test_mask": 64}, MODULE)


def test_a_bit_that_is_no_case_is_refused_unless_all_cases_are_meant():
    with pytest.raises(ParameterError, match=r"run_test_mask: 8257 has 64, 8192 without a case"):
        check_workload({"run_test_mask": 8192 + 64 + 1}, MODULE)
    assert len(check_workload({"run_test_mask": 2**31 - 1}, MODULE).cases) == 6


def test_a_module_that_lists_no_cases_is_refused():
    # as a later release may: then no line says what a complete run has
    silent = dataclasses.replace(MODULE, cases={})
    with pytest.raises(ParameterError, match="run_test_mask: test_vmalloc does not list its cases"):
        check_workload({"run_test_mask": 1}, silent)


def test_what_a_load_does_not_name_is_as_the_module_has_it():
    newer = dataclasses.replace(
        MODULE, defaults={"test_loop_count": 500, "nr_threads": 3, "use_huge": 1}
    )
    load = check_workload({"run_test_mask": 1}, newer)
    assert (load.loops, load.nr_threads) == (500, 3)
    assert load.held_kib(1) == 3 * 2048
    assert check_workload({"test_loop_count": 9}, newer).loops == 9


def test_workers_run_the_same_case_together_unless_asked_otherwise():
    plain = check_workload({"nr_threads": 2}, MODULE)
    assert plain.render_parameters() == "nr_threads=2 sequential_test_order=Y run_test_mask=63"
    shuffled = check_workload({"sequential_test_order": False}, MODULE)
    assert shuffled.render_parameters() == "sequential_test_order=N run_test_mask=63"


def test_an_older_module_without_the_order_is_not_given_it():
    parameters = dict(MODULE.parameters)
    del parameters["sequential_test_order"]
    older = dataclasses.replace(MODULE, parameters=parameters)
    assert check_workload({}, older).render_parameters() == "run_test_mask=63"


def test_without_a_mask_the_modules_own_default_counts_and_is_passed():
    # 7.0 and later run the first three of 13 cases unless they are told otherwise
    newer = dataclasses.replace(MODULE, defaults={"run_test_mask": 7})
    load = check_workload({"nr_threads": 2}, newer)
    assert load.parameters["run_test_mask"] == 7
    assert len(load.cases) == 3
    assert len(check_workload({}, dataclasses.replace(MODULE, defaults={})).cases) == 6


@pytest.mark.parametrize("objects", [-5, 0, 10_000_001])
def test_a_number_of_per_cpu_objects_that_cannot_be_is_refused(objects):
    with pytest.raises(ParameterError, match=r"nr_pcpu_objects: found .*, expected 1 to"):
        check_workload({"nr_pcpu_objects": objects}, with_parameter("nr_pcpu_objects"))


def test_the_memory_of_per_cpu_objects_follows_their_number():
    module = with_parameter("nr_pcpu_objects")
    few = check_workload({"run_test_mask": 128, "nr_pcpu_objects": 100}, module)
    usual = check_workload({"run_test_mask": 128}, module)
    assert usual.held_kib(64) == 350 * few.held_kib(64)


def with_parameter(name):
    parameters = {**MODULE.parameters, name: Parameter(name, "int", "")}
    cases = {**MODULE.cases, "pcpu_alloc_test": 128}
    return dataclasses.replace(MODULE, parameters=parameters, cases=cases)


def test_a_mask_chooses_cases():
    load = check_workload({"nr_threads": 64, "run_test_mask": 7}, MODULE)
    assert load.cases == tuple(f"{case}_alloc_test" for case in CASES[:3])


@pytest.mark.parametrize(
    ("mask", "cpus", "held_mib"),
    [
        (2, 4, 192),  # two arrays of fls(4) * 32 MiB of pages
        (2, 64, 448),
        (4, 64, 58),  # 15000 single pages and 101 more, whatever the CPUs
        (1, 4, 0),
    ],
)
def test_what_a_worker_holds_follows_the_source_of_its_case(mask, cpus, held_mib):
    load = check_workload({"run_test_mask": mask, "nr_threads": 1}, MODULE)
    assert load.held_kib(cpus) // 1024 == held_mib


def test_huge_areas_are_rounded_up():
    load = check_workload({"run_test_mask": 1, "nr_pages": 513, "use_huge": True}, MODULE)
    assert load.held_kib(1) == 4096


def test_the_first_purge_at_64_cpus_comes_after_28672_single_page_allocations():
    assert lazy_max_pages(64) == 57344
    assert steady_loops(1, 64) == 28672
    assert steady_loops(64, 64) == 448


@given(st.integers(1, 65535), st.integers(1, 1024))
def test_steady_loops_suffice_and_one_less_does_not(nr_threads, cpus):
    loops = steady_loops(nr_threads, cpus)
    assert 2 * loops * nr_threads >= lazy_max_pages(cpus)
    assert 2 * (loops - 1) * nr_threads < lazy_max_pages(cpus)


@given(st.integers(1, 256), st.integers(1, 63), st.integers(1, 256))
def test_more_workers_never_need_less_memory(nr_threads, mask, cpus):
    needs = [
        check_workload({"nr_threads": n, "run_test_mask": mask}, MODULE).memory_mib(cpus)
        for n in (nr_threads, nr_threads + 1)
    ]
    assert needs[0] <= needs[1]
