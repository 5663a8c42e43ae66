from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ParameterError
from harness.testmod.modinfo import parse_modinfo
from harness.testmod.source import parse_module_source
from harness.testmod.workload import check_workload

DATA = Path(__file__).parents[2] / "data"
SOURCE = (DATA / "test_vmalloc-6.12-parameters.c").read_text()


def test_the_source_says_what_the_built_module_says():
    """The start of lib/test_vmalloc.c of Linux 6.12, and the .modinfo that was built of it."""
    built = parse_modinfo((DATA / "test_vmalloc-6.12-modinfo.o").read_bytes())
    found = parse_module_source(SOURCE)
    assert found.cases == built.cases
    assert {p.name: p.type for p in found.parameters.values()} == {
        p.name: p.type for p in built.parameters.values()
    }
    assert found.defaults["run_test_mask"] == 2**31 - 1
    assert found.defaults["sequential_test_order"] == 0


def test_a_misspelt_parameter_is_refused_from_the_source():
    with pytest.raises(ParameterError, match="nr_thread: not a parameter of test_vmalloc"):
        check_workload({"nr_thread": 2}, parse_module_source(SOURCE))


def test_what_is_commented_out_is_no_parameter():
    text = '/*\n__param(int, a, 0, "x");\n*/\n// y\n__param(uint, b, 7, "two " "parts");\n'
    mask = '__param(int, run_test_mask, 7, "id: 1, name: fix_size_alloc_test");\n'
    found = parse_module_source(text + mask)
    assert list(found.parameters) == ["b", "run_test_mask"]
    assert found.parameters["b"].description == "two parts"
    assert found.defaults == {"b": 7, "run_test_mask": 7}


def test_a_source_that_declares_otherwise_is_left_to_the_built_module():
    assert parse_module_source("module_param(x, int, 0);") is None
    cases_in_words = '__param(int, run_test_mask, 7, "1 for fix_size_alloc_test");\n'
    assert parse_module_source(cases_in_words) is None


@given(st.text(max_size=200))
def test_no_text_makes_it_raise(text):
    parse_module_source(text + '__param(int, a, 0, "' + text)
