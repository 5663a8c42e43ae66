"""The error rates that docs/statistics.md states, on simulated experiments with known truth.

Log-normal noise between boots and between workers, whole microseconds, as the module prints them.
"""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.judging import words
from harness.analysis.statistics import ALPHA, compare_boots

BOOTS = (3, 5, 10)
SPREADS = ((0.03, 0.03), (0.01, 0.05))  # of baseline's and candidate's boots


def times(rng, experiments, boots, spread, usual_us):
    boot = np.exp(rng.normal(0, spread, (experiments, boots, 1)))
    workers = np.exp(rng.normal(0, 0.05, (experiments, boots, 16)))
    return (usual_us * boot * workers).round().mean(axis=2)


def experiments(count, boots, spreads, ratio, seed):
    rng = np.random.default_rng(seed)
    baseline = times(rng, count, boots, spreads[0], 20_000)
    return compare_boots(baseline, times(rng, count, boots, spreads[1], 20_000 / ratio), rng, 1.0)


def claimed(found, p_adjusted):
    return np.isin(words(found.low, found.high, p_adjusted, found.detectable), ["faster", "slower"])


@pytest.mark.parametrize("spreads", SPREADS)
@pytest.mark.parametrize("boots", BOOTS)
def test_null_experiments_claim_five_in_a_hundred(boots, spreads):
    found = experiments(
        3_000, boots, spreads, 1.0, seed=boots
    )  # of 1,000 chance alone moves it 1.4
    rate = claimed(found, found.p).mean()  # a family of one: nothing to adjust
    assert 0.035 <= rate <= 0.065


@pytest.mark.parametrize("spreads", SPREADS)
@pytest.mark.parametrize("ratio", [0.97, 12.69])
@pytest.mark.parametrize("boots", BOOTS)
def test_intervals_cover_the_true_ratio(boots, ratio, spreads):
    found = experiments(1_000, boots, spreads, ratio, seed=boots)
    assert 0.93 <= ((found.low <= ratio) & (ratio <= found.high)).mean() <= 0.97


@pytest.mark.parametrize("boots", BOOTS)
def test_a_table_of_nulls_claims_anything_at_most_as_often(boots):
    cases = 11
    found = experiments((1_000 if boots < 10 else 300) * cases, boots, SPREADS[0], 1.0, seed=boots)
    adjusted = stats.false_discovery_control(found.p.reshape(-1, cases), axis=1)
    any_claim = claimed(found, adjusted.ravel()).reshape(-1, cases).any(axis=1).mean()
    assert any_claim <= ALPHA + 0.015


@pytest.mark.parametrize("boots", BOOTS)
def test_detectable_effect_is_shown_four_times_in_five(boots):
    typical = float(np.median(experiments(1_000, boots, SPREADS[0], 1.0, seed=1).detectable))
    shown = (experiments(1_000, boots, SPREADS[0], 1 + typical, seed=2).low > 1).mean()
    assert 0.7 <= shown <= 0.9
