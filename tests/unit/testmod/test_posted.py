import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.testmod.posted import Posted, parse_posted

OURS = """\
> working tree against HEAD, 16 CPUs, 16 threads
>
>   case, pages, huge, loops           HEAD         change              95 %
>   whole load p:1 h:0 l:4000      30.51 ms          +0.0 %     -9.2 .. +10.1
>   fix_size_alloc p:16 h:1 l:500  24.37 us  (I)     -5.0 %      -5.1 .. -4.9
>
> topic against HEAD, 64 CPUs, 64 threads
>
>   case, pages, huge, loops           HEAD         change              95 %
>   whole load p:1 h:0 l:4000      30.51 ms          +1.0 %     -9.2 .. +10.1
"""
LISTS = """\
+-----------------+----------------------------------------------------+-----------+-------------+
| Benchmark       | Result Class                                       |  baseline |      change |
+=================+====================================================+===========+=============+
| micromm/vmalloc | fix_align_alloc_test: p:1, h:0, l:500000 (usec)    | 181834.00 | (R) +10.02% |
|                 | fix_size_alloc_test: p:512, h:1, l:500000 (usec)   | 700134.50 |       0.11% |
"""
# The forms in which tables stand in mail, with numbers that nobody measured.
COLUMNS = """\
legend: (I) and (R): the 95% confidence intervals do not overlap
+-----------------------------------------------+-------------+-------------+
| Benchmark                                     |             |             |
|   Result Class                                |   Machine A |   Machine B |
+===============================================+=============+=============+
| micromm/vmalloc                               |             |             |
|   fix_align_alloc_test: p:1, h:0 (usec)       | (I) -10.50% |      -2.50% |
|   fix_size_alloc_test: p:256, h:1 (usec)      |  (I) -9.00% |   (R) 6.75% |
+-----------------------------------------------+-------------+-------------+
"""
WRAPPED = """\
>> > +-----------------+------------------------------------------+---------
>> > --+-------------+
>> > | Benchmark       | Result Class            |   7-0 (base) |
>> >   7-1-rc1 |   7-1-rc2 |
>> > +=================+==========================================+=========
>> > ==+=============+
>> > | micromm/vmalloc | kvfree_rcu_1_arg_vmalloc_test: p:1, h:0, l:500000
>> > (usec) |       262000.50 |      -4.50% |             (R)
>> > -8.25% |
>> > |                 | pcpu_alloc_test: p:1, h:0, l:500000 (usec)
>> >   |       197000.25 |      -2.00% |  (R) -4.25% |
>> > +-----------------+------------------------------------------+---------
>> > | perf/syscall    | execve (ops/sec)            |         1202.50 |  (R)
>> > -7.25% |  (R) -7.00% |
>> > +-----------------+------------------------------------------+---------
>> > | micromm/vmalloc | vm_map_ram_test: p:1, h:0, l:500000 (usec) | 1.5 | 0.5% | (I) 3.5% |
"""
TWO_LINES = """\
v1 (base) | v2
-------------------------------------------------------------------
fix_align_alloc_test: p:1, h:0, l:500000
895000.75 | (R) -10.75%

fix_size_alloc_test: p:4, h:0, l:500000
529000.25 | (R) -13.25%
"""
LONG = """\
  kvfree_rcu_1_arg_vmalloc p:512 h:1 l:1000000   1.2 s  (R)   +4.0 %

  95 %: kvfree_rcu_1_arg_vmalloc p:512 h:1 l:1000000  +3.5 .. +4.5
  95 %: nobody p:1 h:0 l:1  +3.5 .. +4.5
"""


def test_our_own_table_is_read_also_where_it_is_quoted():
    first, second, third = parse_posted(OURS)
    assert first == Posted(
        "whole load", 1, False, 4000, 30510.0, 0.0, -0.092, 0.101, "", "working tree", 16
    )
    assert (second.case, second.change, second.word) == (
        "fix_size_alloc_test",
        -0.05,
        "improvement",
    )
    assert (third.change, third.column, third.threads) == (0.01, "topic", 64)


def test_a_row_below_other_text_is_of_no_table_above_it():
    more = "\nMachine: another.\n\nfix_size_alloc_test: p:1, h:0, l:500000 (usec) | (R) 4.20%\n"
    *_, last = parse_posted(OURS + more)
    assert (last.change, last.column, last.threads) == (0.042, "", None)


def test_the_table_of_the_lists_is_read():
    first, second = parse_posted(LISTS)
    assert first == Posted(
        "fix_align_alloc_test", 1, False, 500_000, 181834.0, 0.1002, None, None, "regression",
        "change",
    )  # fmt: skip
    assert (second.case, second.nr_pages, second.use_huge) == ("fix_size_alloc_test", 512, True)
    assert (second.change, second.word) == (0.0011, "")


def test_a_table_of_several_columns_without_times_is_read():
    rows = [(row.case, row.column, row.change, row.word) for row in parse_posted(COLUMNS)]
    assert rows == [
        ("fix_align_alloc_test", "Machine A", -0.105, "improvement"),
        ("fix_align_alloc_test", "Machine B", -0.025, ""),
        ("fix_size_alloc_test", "Machine A", -0.09, "improvement"),
        ("fix_size_alloc_test", "Machine B", 0.0675, "regression"),
    ]
    assert all((row.loops, row.baseline_us) == (None, None) for row in parse_posted(COLUMNS))


def test_what_a_mail_program_wrapped_is_read_and_signs_are_those_of_times():
    """Regressions below zero: the table has changes of the performance."""
    rows = [
        (row.case, row.column, row.change, row.baseline_us)
        for row in parse_posted(WRAPPED.replace("\n", " \n"))
    ]
    assert rows == [
        ("kvfree_rcu_1_arg_vmalloc_test", "7-1-rc1", 0.045, 262000.5),
        ("kvfree_rcu_1_arg_vmalloc_test", "7-1-rc2", 0.0825, 262000.5),
        ("pcpu_alloc_test", "7-1-rc1", 0.02, 197000.25),
        ("pcpu_alloc_test", "7-1-rc2", 0.0425, 197000.25),
        ("vm_map_ram_test", "7-1-rc1", -0.005, 1.5),
        ("vm_map_ram_test", "7-1-rc2", -0.035, 1.5),
    ]


def test_a_table_with_a_line_for_the_case_and_one_for_its_figures_is_read():
    first, second = parse_posted(TWO_LINES)
    assert (first.column, first.baseline_us, first.change) == ("v2", 895000.75, 0.1075)
    assert (second.nr_pages, second.change, second.column) == (4, 0.1325, "v2")


@pytest.mark.parametrize("lines", ["1" * 390, "- " * 190, "(R) " * 90, "h:1, " * 70])
def test_a_long_line_below_a_row_costs_no_time(lines):
    text = f"fix_size_alloc_test: p:1, h:0\n{lines}x\n" * 2000
    assert parse_posted(text) == []


def test_intervals_below_the_table_belong_to_its_rows():
    (row,) = parse_posted(LONG)
    assert (row.baseline_us, row.low, row.high) == (1_200_000.0, 0.035, 0.045)


@given(st.text(alphabet="ap:_ |()R0129.%-hl", max_size=400))
def test_no_text_makes_it_raise(text):
    parse_posted(text)
