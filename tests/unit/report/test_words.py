"""The words: what is said of ratios, and what a kernel's text may not do."""

import math

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.judging import Word
from harness.analysis.times import WHOLE_LOAD, Metric
from harness.report.charts import ratio_ticks
from harness.report.provenance import parse_config
from harness.report.view import Effect, change, parameter_words, speed_words, verdict_sentence
from harness.text import visible


def effect(case, ratio, low, high, word, threads=64, detectable=0.05):
    metric = Metric.LOAD if case == WHOLE_LOAD else Metric.MEAN
    return Effect(
        workload="page", cpus=64, nr_threads=threads, case=case, kernel="vmap-nodes",
        baseline="single-node", ratio=ratio, low=low, high=high, p=0.01, p_adjusted=0.01,
        detectable=detectable, boots=5, boots_baseline=5, metric=metric.value, word=word, note="",
    )  # fmt: skip


def test_sentence_names_the_largest_difference_and_counts_the_rest():
    effects = [
        effect(WHOLE_LOAD, 9.0, 8.5, 9.5, Word.FASTER),
        effect("fix_size_alloc_test", 8.3, 7.9, 8.7, Word.FASTER),
        effect("full_fit_alloc_test", 0.5, 0.4, 0.6, Word.SLOWER),
        effect("vm_map_ram_test", 1.0, 0.9, 1.1, Word.NO_DIFFERENCE),
    ]
    assert verdict_sentence(effects, several_rows_a_case=False) == (
        "vmap-nodes is 8.3x faster than single-node on fix_size_alloc at 64 threads "
        "(95 % interval 7.9 to 8.7); of 3 cases: 1 faster, 1 slower, 1 with no difference shown."
    )


def test_sentence_claims_nothing_that_is_not_shown():
    effects = [effect("a_test", 3.0, 0.9, 9.0, Word.NO_DIFFERENCE),
               effect("b_test", 1.0, 0.9, 1.1, Word.NO_DIFFERENCE)]  # fmt: skip
    sentence = verdict_sentence(effects, several_rows_a_case=False)
    assert sentence.startswith("No difference shown between vmap-nodes and single-node")
    assert sentence.endswith("a change of 5.0 % would have been seen.")
    assert "too few boots" in verdict_sentence([], several_rows_a_case=False)


def test_slower_and_small_changes_are_told_in_their_own_unit():
    assert speed_words(0.25) == "4x slower"
    assert speed_words(1.042) == "4.2 % faster"
    assert change(0.042) == "4.2 %"
    assert change(11) == "12x"


def test_sweep_parameters_without_those_that_stand_elsewhere():
    assert parameter_words("page[nr_pages=4,nr_threads=8,cpus=2]") == ["nr_pages=4"]
    assert parameter_words("page") == []


def test_config_tells_unset_symbols_from_values():
    text = 'CONFIG_SMP=y\n# CONFIG_NUMA is not set\nCONFIG_NAME="a=b"\n# a comment\n'
    assert parse_config(text) == {"CONFIG_SMP": "y", "CONFIG_NUMA": "n", "CONFIG_NAME": '"a=b"'}


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
