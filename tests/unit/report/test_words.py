"""The texts on ratios, and the sanitising of untrusted text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.wording import change, speed_text, sweep_parameters
from harness.report.charts import rank_ticks, ratio_ticks
from harness.text import visible


def test_slower_and_small_changes_are_told_in_their_own_unit():
    assert speed_text(0.25) == "4x slower"
    assert speed_text(1.042) == "4.2 % faster"
    assert change(0.042) == "4.2 %"
    assert change(11) == "12x"


def test_sweep_parameters_without_those_that_stand_elsewhere():
    assert sweep_parameters("page[nr_pages=4,nr_threads=8,cpus=2]") == ["nr_pages=4"]
    assert sweep_parameters("page") == []


@given(st.text())
def test_visible_text_steers_no_terminal_and_no_direction(text):
    for character in visible(text):
        assert character in "\t\n" or ord(character) >= 0x20
        assert not 0x7F <= ord(character) <= 0x9F
        assert character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@given(st.floats(0.001, 0.98), st.floats(1.02, 1000))
def test_axis_has_a_few_round_ticks_with_one_among_them(low, high):
    ticks = ratio_ticks([low, high])
    assert 1 in ticks
    assert len(ticks) <= 20
    assert all(low <= tick <= high for tick in ticks)
    assert all(math.isclose(tick, float(f"{tick:.3g}")) for tick in ticks)


@pytest.mark.parametrize("workers", [2, 8, 9, 16, 63, 64, 100, 128, 1024])
def test_the_axis_of_workers_goes_from_1_to_their_number(workers):
    ticks = rank_ticks(workers)
    assert (ticks[0], ticks[-1]) == (1, workers)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 10
