"""How often a bisection is wrong, by simulation: its error bounds hold, also where builds differ.

Times are log-normal; `layout` is a difference of its own for each commit, as that of code layout.
`python -m benchmarks.bisection` makes the table of docs/results/bisection.md with more experiments.
"""

import pytest
from scipy import stats

from benchmarks.bisection import Case, autocorrelated, bimodal, drift, simulate, two_modes
from harness.analysis.bisection_ends import SearchBounds

EXPERIMENTS = 60


@pytest.mark.parametrize(
    "case",
    [
        Case(effect=1.05, spread=0.015),
        Case(effect=1.10, spread=0.03),
        Case(effect=1.10, spread=0.01, layout=0.01),
        Case(effect=0.90, spread=0.03, broken=0.1),
        *(Case(1.05, 0.01, host=host) for host in (drift, autocorrelated, bimodal, two_modes)),
    ],
    # of the default names a function has its address, other in every worker of pytest-xdist
    ids=lambda case: (
        f"{case.effect}-{case.spread}-{case.layout}-{case.broken}-{case.host.__name__}"
    ),
)
def test_the_culprit_is_missed_no_oftener_than_the_bounds_say(case):
    rates = simulate(case, EXPERIMENTS, seed=20240102)
    bound = case.bounds.alpha + case.bounds.beta
    assert rates.wrong <= stats.binom.ppf(0.999, EXPERIMENTS, bound)
    assert rates.no_difference <= EXPERIMENTS / 20
    assert rates.unclear <= EXPERIMENTS / 10, "a range is for layouts as large as the effect"


def test_layouts_nearly_as_large_as_the_effect_are_averaged_over_builds():
    case = Case(effect=1.05, spread=0.01, layout=0.015)
    rates = simulate(case, EXPERIMENTS, seed=20240102)
    assert rates.wrong <= stats.binom.ppf(0.999, EXPERIMENTS, 0.1)
    assert rates.unclear + rates.no_difference <= EXPERIMENTS / 10


def test_one_build_of_each_ends_as_a_range_not_as_a_wrong_commit():
    case = Case(effect=1.05, spread=0.01, layout=0.015, bounds=SearchBounds(layouts=1))
    rates = simulate(case, EXPERIMENTS, seed=20240102)
    assert rates.wrong <= stats.binom.ppf(0.999, EXPERIMENTS, 0.1)
    assert rates.unclear + rates.no_difference < EXPERIMENTS, "and sometimes as the commit"
    assert rates.suspects < 8 * rates.unclear, "a range is narrower than what it began with"


@pytest.mark.parametrize(
    "case", [Case(1.0, 0.02), Case(1.0, 0.01, layout=0.015)], ids=["noise", "layout"]
)
def test_nothing_is_found_where_nothing_changed(case):
    rates = simulate(case, EXPERIMENTS, seed=1)
    assert EXPERIMENTS - rates.no_difference <= stats.binom.ppf(0.999, EXPERIMENTS, 0.05)
