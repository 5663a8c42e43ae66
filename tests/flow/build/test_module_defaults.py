"""What a compiled module is initialised with, read from the file that gcc wrote."""

import subprocess

import pytest

from harness.testmod.modinfo import parse_modinfo

MODULE = """
#define PARAMETER(type, name, text, init)                                           \\
    static type name = init;                                                        \\
    __attribute__((section(".modinfo"), used)) static const char name##_type[] =    \\
        "parmtype=" #name ":" text;
PARAMETER(int, run_test_mask, "int", 7)
PARAMETER(_Bool, use_huge, "bool", 0)
PARAMETER(_Bool, sequential_test_order, "bool", 1)
PARAMETER(int, nr_threads, "int", -2)
__attribute__((section(".modinfo"), used)) static const char name[] = "name=test_vmalloc";
int *use(void) { return nr_threads + use_huge + sequential_test_order ? &run_test_mask : 0; }
int set(int x) { use_huge = sequential_test_order = x; nr_threads = x; return run_test_mask = x; }
"""


@pytest.mark.parametrize("options", [[], ["-fdata-sections", "-O0"]])
def test_defaults_are_read_from_the_data_of_the_module(tmp_path, options):
    (tmp_path / "m.c").write_text(MODULE)
    subprocess.run(["gcc", *options, "-c", "m.c", "-o", "m.ko"], cwd=tmp_path, check=True)
    module = parse_modinfo((tmp_path / "m.ko").read_bytes())
    assert module.defaults == {
        "run_test_mask": 7,
        "use_huge": 0,
        "sequential_test_order": 1,
        "nr_threads": -2,
    }


def test_a_stripped_module_tells_no_defaults(tmp_path):
    (tmp_path / "m.c").write_text(MODULE)
    subprocess.run(["gcc", "-s", "-c", "m.c", "-o", "m.ko"], cwd=tmp_path, check=True)
    subprocess.run(["strip", "--strip-all", "m.ko"], cwd=tmp_path, check=True)
    assert parse_modinfo((tmp_path / "m.ko").read_bytes()).defaults == {}
