"""How one test_vmalloc.c is said to differ from another."""

from harness.build.module import describe_difference

OLD = """
__param(int, nr_threads, 0, "Number of workers");
static struct test_case_desc test_case_array[] = {
	{ "fix_size_alloc_test", fix_size_alloc_test },
	{ "pcpu_alloc_test", pcpu_alloc_test },
};
	down_read(&prepare_for_test_rwsem);
"""
NEW = (
    OLD.replace("pcpu_alloc", "vm_map_ram")
    .replace("down_read(&prepare_for_test_rwsem);", "wait_for_completion(&start);")
    .replace("__param(int", '__param(bool, use_huge, false, "x");\n__param(unsigned long')
)


def test_cases_parameters_and_gate_are_told():
    assert describe_difference(OLD, NEW) == [
        "a case more: pcpu_alloc_test",
        "no case vm_map_ram_test",
        "no parameter use_huge",
        "another start gate for its workers",
    ]


def test_the_same_has_nothing_to_tell():
    assert describe_difference(OLD, OLD) == ["the same cases, parameters and start gate"]
