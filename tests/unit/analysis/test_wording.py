"""The one sentence for a run: what it speaks of, and what it does not claim."""

import pandas as pd

from harness.analysis.compare import compare
from harness.analysis.judging import Word
from harness.analysis.times import WHOLE_LOAD, Metric
from harness.analysis.wording import answer
from tests.unit.analysis.boot_frames import frames


def row(
    case, word, ratio=1.0, low=0.99, high=1.01, candidate="new", threads=64, note="", load="page"
):
    metric = Metric.LOAD if case == WHOLE_LOAD else Metric.MEAN
    return {
        "workload": load, "cpus": 64, "nr_threads": threads, "candidate": candidate,
        "case": case, "metric": metric.value, "ratio": ratio, "low": low, "high": high,
        "detectable": 0.042, "boots_baseline": 5, "boots_candidate": 4, "word": word.value,
        "note": note,
    }  # fmt: skip


def sentence(*rows, candidates=("new",)):
    return answer(pd.DataFrame(rows), "old", candidates, 0.005)


def test_it_speaks_of_the_whole_load_and_counts_the_cases():
    assert sentence(
        row(WHOLE_LOAD, Word.FASTER, 2.0, 1.9, 2.1),
        row("fix_size_alloc_test", Word.FASTER, 8.3, 7.9, 8.7),
        row("full_fit_alloc_test", Word.SLOWER, 0.5, 0.4, 0.6),
        row("vm_map_ram_test", Word.NO_DIFFERENCE),
        row("pcpu_alloc_test", Word.ALIKE),
    ) == (
        "new is 2x faster than old over the whole load at 64 threads (95 % interval 1.9 to 2.1); "
        "of 4 cases: 1 faster (fix_size_alloc), 1 slower (full_fit_alloc), 1 alike, "
        "1 with no difference shown."
    )


def test_it_is_of_the_most_threads_whatever_is_larger_elsewhere():
    found = sentence(
        row(WHOLE_LOAD, Word.FASTER, 9.0, 8.0, 10.0, threads=2),
        row(WHOLE_LOAD, Word.ALIKE),
        row("a_test", Word.FASTER, 9.0, 8.0, 10.0, threads=2),
        row("a_test", Word.ALIKE),
    )
    assert found == (
        "new and old are alike over the whole load at 64 threads: within 0.5 % of each other; "
        "of 2 comparisons: 1 faster, 1 alike."
    )


def test_it_names_every_candidate():
    found = sentence(
        row(WHOLE_LOAD, Word.FASTER, 1.05, 1.03, 1.07),
        row(WHOLE_LOAD, Word.TOO_FEW, candidate="newer"),
        candidates=("new", "newer", "dead"),
    )
    assert found == (
        "new is 5.0 % faster than old over the whole load at 64 threads (95 % interval 3.0 to "
        "7.0 %). Too few boots to compare newer and old over the whole load at 64 threads: 5 and 4 "
        "passed, it takes 3 of each. No boot of dead can be compared with old."
    )


def test_it_says_that_no_boot_passed_and_says_it_once():
    rows = [
        {**row(case, Word.NOT_COMPARABLE, note="only in the baseline"), "boots_candidate": 0}
        for case in (WHOLE_LOAD, "a_test", "b_test")
    ]
    assert sentence(*rows) == (
        "new and old are not comparable over the whole load at 64 threads: no boot of new passed."
    )


def test_it_names_the_workload_where_there_are_several():
    found = sentence(
        row(WHOLE_LOAD, Word.FASTER, 1.05, 1.03, 1.07, load="page[nr_threads=64]"),
        row(WHOLE_LOAD, Word.ALIKE, load="huge[nr_pages=512,nr_threads=64]"),
        row(WHOLE_LOAD, Word.ALIKE, load="huge[nr_pages=512,nr_threads=8]", threads=8),
    )
    assert found == (
        "new and old are alike over the whole load of huge nr_pages=512 at 64 threads: "
        "within 0.5 % of each other."
    )


def test_sizes_of_one_workload_are_not_several():
    found = sentence(
        row(WHOLE_LOAD, Word.ALIKE, load="page[nr_threads=64]"),
        row(WHOLE_LOAD, Word.FASTER, 9.0, 8.0, 10.0, load="page[nr_threads=2]", threads=2),
    )
    assert found.startswith("new and old are alike over the whole load at 64 threads")


def test_it_says_what_would_have_been_seen():
    assert sentence(row(WHOLE_LOAD, Word.NO_DIFFERENCE)) == (
        "No difference shown between new and old over the whole load at 64 threads; "
        "a change of 4.2 % would have been seen 4 times in 5."
    )
    assert "too noisy, only a change of 4.2 %" in sentence(row(WHOLE_LOAD, Word.TOO_NOISY))


def test_a_single_case_that_differs_from_its_load_is_told():
    found = sentence(row(WHOLE_LOAD, Word.ALIKE), row("a_test", Word.SLOWER, 0.5, 0.4, 0.6))
    assert found.endswith("of 1 case: 1 slower.")


def test_the_page_and_the_terminal_say_the_same():
    found = compare(*frames(ratio=2.0), "a", seed=1)
    assert found.answer.startswith(
        "b is 2.03x faster than a over the whole load at 8 threads (95 %"
    )
