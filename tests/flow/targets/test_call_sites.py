"""The loops of a module in its code, on a small one that gcc compiles."""

import pytest

from harness.errors import InputError
from harness.targets.simulated.sampling import find_sites
from harness.testmod.cases import lazy_max_pages

SOURCE = """
void *vmalloc_noprof(unsigned long);
void vfree(void *);
long ktime_get(void);
int loops;

int fix_size_alloc_test(void)
{
	for (int i = 0; i < loops; i++)
		vfree(vmalloc_noprof(1));
	return 0;
}

int full_fit_alloc_test(void)
{
	void **kept = vmalloc_noprof(2), **junk = vmalloc_noprof(3);

	for (int i = 0; i < loops; i++) {
		kept[i] = vmalloc_noprof(4);
		junk[i] = vmalloc_noprof(5);
	}
	for (int i = 0; i < loops; i++)
		vfree(junk[i]);
	for (int i = 0; i < loops; i++)
		vfree(vmalloc_noprof(6));
	for (int i = 0; i < loops; i++)
		vfree(kept[i]);
	vfree(kept);
	vfree(junk);
	return 0;
}
%s
int (*tests[])(void) = { fix_size_alloc_test, full_fit_alloc_test };

long test_func(int which)
{
	long began = ktime_get();

	return tests[which]() + ktime_get() - began;
}
"""
LONG = """
int long_busy_list_alloc_test(void)
{
	void **kept = vmalloc_noprof(7), *one, *two;

	for (int i = 0; i < loops; i++)
		kept[i] = vmalloc_noprof(8);
	for (int i = 0; i < loops; i++) {
		one = vmalloc_noprof(9);
		two = vmalloc_noprof(10);
		vfree(one);
		vfree(two);
	}
	for (int i = 0; i < loops; i++)
		vfree(kept[i]);
	vfree(kept);
	return 0;
}
"""


@pytest.fixture
def compiled(runner, tmp_path):
    def compile_with(cases: str) -> bytes:
        (tmp_path / "module.c").write_text(SOURCE % cases)
        flags = ["-O2", "-mcmodel=kernel", "-fno-pie", "-fcf-protection=none", "-c"]
        output = tmp_path / "module.o"
        argv = ["gcc", *flags, "-o", str(output), str(tmp_path / "module.c")]
        runner.run(argv, check=True)
        return output.read_bytes()

    return compile_with


def test_the_loops_of_the_three_cases_are_found(compiled):
    module = compiled(LONG)
    sites = find_sites(module)
    assert [(site.case, site.part) for site in sites] == [
        *[("", "")] * 2,
        ("fix_size_alloc_test", "loop"),
        ("full_fit_alloc_test", "prepare"),
        ("full_fit_alloc_test", "loop"),
        ("full_fit_alloc_test", "prepare"),
        ("full_fit_alloc_test", "end"),
        ("long_busy_list_alloc_test", "prepare"),
        ("long_busy_list_alloc_test", "loop"),
        ("long_busy_list_alloc_test", "end"),
    ]
    # 64 bytes are the ELF header, behind which the text comes: a call's opcode is at each offset.
    assert {module[64 + site.offset] for site in sites} == {0xE8}


def test_a_loop_is_as_long_as_the_case_says(compiled):
    times = [site.times(loops=1000, cpus=64) for site in find_sites(compiled(LONG)) if site.part]
    areas = lazy_max_pages(64)
    assert times == [1000, areas, 1000, areas, areas, 15_000, 1000, 15_000]


def test_a_module_with_other_code_is_refused(compiled):
    with pytest.raises(InputError, match="loops of test_vmalloc.ko were not found"):
        find_sites(compiled(""))
