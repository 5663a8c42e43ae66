"""What benchmarks.published_curve makes of windows and rows; its boots take hours."""

import json

import pytest

from benchmarks.published_curve import (
    VARIANTS,
    goals,
    loops_of,
    machine_of,
    measured,
    published,
    steady,
    table,
)


def window(until_ms, busy, pairs, purges, spin=0.0):
    """So far `pairs` allocations and `purges`; a window ends at `until_ms`."""
    return {
        "until_ms": until_ms,
        "busy_cpus": busy,
        "executed": [pairs, purges],
        "spin_share": spin,
        "waits": {"alloc_vmap_area": spin},
        "self": {"clear_page_rep": 0.1},
    }


WINDOWS = [
    window(1.0, 0.5, 10, 3),  # the module is loaded, which purges
    window(2.0, 8.0, 110, 3, spin=0.9),  # pools are empty
    window(3.0, 8.0, 510, 4, spin=0.2),
    window(5.0, 7.6, 1310, 5, spin=0.4),
    window(6.0, 2.0, 1320, 6),  # most workers have ended
]


def test_only_windows_after_a_purge_with_all_cpus_at_work_count():
    found = steady(WINDOWS, 8)
    assert found["pair_us"] == pytest.approx((8.0 * 1 + 7.6 * 2) * 1000 / 1200, rel=1e-4)
    assert found["best_us"] == pytest.approx(7.6 * 2 * 1000 / 800, rel=1e-4)
    assert found["steady_ms"] == 3.0
    assert found["spin_share"] == pytest.approx((0.2 * 1 + 0.4 * 2) / 3, abs=1e-4)


@pytest.mark.parametrize("windows", [[], WINDOWS[:2]])
def test_a_load_that_ended_before_the_first_purge_is_refused(windows):
    with pytest.raises(ValueError, match="has 8 CPUs at work after a purge"):
        steady(windows, 8)


@pytest.mark.parametrize("side", ["before", "after"])
def test_every_load_is_long_enough_for_a_purge(side):
    for jobs in (8, 16, 24, 32):
        pages = 2 * jobs * loops_of(side, jobs)
        assert pages > jobs.bit_length() * 32 * 256  # lazy_max_pages()


def test_the_published_curve_has_64_points():
    real = published()
    assert len(real) == 64
    assert real["before", 1] == pytest.approx(0.576, abs=0.001)


def test_a_later_row_of_a_point_replaces_an_earlier_one():
    rows = [
        {"variant": "calibrated", "side": "after", "jobs": 8, "pair_us": us} for us in (3.0, 2.0)
    ]
    assert measured(json.dumps(row) for row in rows) == [rows[1]]


REAL = {("after", 1): 0.5, ("after", 8): 2.0, ("before", 1): 0.5, ("before", 8): 10.0}
CURVES = {"near": {("after", 8): 2.2, ("before", 8): 14.0}, "far": {("after", 1): 1.0}}


def test_a_table_has_value_and_error_of_each_curve_where_it_has_a_point():
    assert table(REAL, CURVES, "after").splitlines()[2:] == [
        "| 1 | 0.500 |  | 1.000 (+100%) |",
        "| 8 | 2.000 | 2.200 (+10%) |  |",
    ]


def test_goals_name_the_worst_error_and_whether_it_is_within():
    lines = goals(REAL, CURVES).splitlines()[2:]
    assert lines[0] == "| before, 8 to 32 jobs, within 30% | **missed** (+40% at 8) |  |"
    assert lines[1] == "| after, 8 to 32 jobs, within 15% | met (+10% at 8) |  |"
    assert lines[3] == "| after, one job, within 10% |  | **missed** (+100% at 1) |"


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_is_a_machine_that_32_jobs_can_be_spread_over(name):
    assert machine_of(name, 32).topology.cores_per_complex == 4
