from hypothesis import given
from hypothesis import strategies as st

from harness.testmod.posted import Posted, parse_posted

OURS = """\
> working tree against HEAD, 16 CPUs, 16 threads
>
>   case, pages, huge, loops           HEAD         change              95 %
>   whole load p:1 h:0 l:4000      30.51 ms          +0.0 %     -9.2 .. +10.1
>   fix_size_alloc p:16 h:1 l:500  24.37 us  (I)     -5.0 %      -5.1 .. -4.9
"""
LISTS = """\
+-----------------+----------------------------------------------------+-----------+-------------+
| Benchmark       | Result Class                                       |  baseline |      change |
+=================+====================================================+===========+=============+
| micromm/vmalloc | fix_align_alloc_test: p:1, h:0, l:500000 (usec)    | 181834.00 | (R) +10.02% |
|                 | fix_size_alloc_test: p:512, h:1, l:500000 (usec)   | 700134.50 |       0.11% |
"""
LONG = """\
  kvfree_rcu_1_arg_vmalloc p:512 h:1 l:1000000   1.2 s  (R)   +4.0 %

  95 %: kvfree_rcu_1_arg_vmalloc p:512 h:1 l:1000000  +3.5 .. +4.5
  95 %: nobody p:1 h:0 l:1  +3.5 .. +4.5
"""


def test_our_own_table_is_read_also_where_it_is_quoted():
    assert parse_posted(OURS) == [
        Posted("whole load", 1, False, 4000, 30510.0, 0.0, -0.092, 0.101, ""),
        Posted("fix_size_alloc_test", 16, True, 500, 24.37, -0.05, -0.051, -0.049, "improvement"),
    ]


def test_the_table_of_the_lists_is_read():
    first, second = parse_posted(LISTS)
    assert first == Posted(
        "fix_align_alloc_test", 1, False, 500_000, 181834.0, 0.1002, None, None, "regression"
    )
    assert (second.case, second.nr_pages, second.use_huge) == ("fix_size_alloc_test", 512, True)
    assert (second.change, second.word) == (0.0011, "")


def test_intervals_below_the_table_belong_to_its_rows():
    (row,) = parse_posted(LONG)
    assert (row.baseline_us, row.low, row.high) == (1_200_000.0, 0.035, 0.045)


@given(st.text(alphabet="ap:_ |()R0129.%-hl", max_size=400))
def test_no_text_makes_it_raise(text):
    parse_posted(text)
