"""Compares rules for the verdict on a row.

python -m benchmarks.statistics_rules --experiments 3000

The rule that is used and others for skewed samples or samples with unequal variances, each with all
noises of `benchmarks.statistics` at 3, 5, 10 and 20 boots: false claims and coverage without a
change, and how often a true change of 10 % is shown.
"""

import argparse
from itertools import product

import numpy as np
from scipy import stats

from benchmarks.statistics import NOISES, UNLIKE, compared, line, table
from harness.analysis.statistics import ALPHA, MIN_BOOTS, SMALLEST_EFFECT, welch, widening

EXPERIMENTS = 5_000


def _variances(a, b):
    return [side.var(axis=1, ddof=1) for side in (a, b)], [side.shape[1] for side in (a, b)]


def _around(difference, error, freedom):
    reach = stats.t.ppf(1 - ALPHA / 2, freedom) * error
    return difference - reach, difference + reach


def used(a, b):
    """The rule that is used, with `harness.analysis.statistics.widening`."""
    found = compared(a, b, 1.0)
    return np.log(found.low), np.log(found.high)


def by_boots(a, b):
    """Welch's t, widened if the spreads differ, by a factor of at most 1 + 3/boots."""
    variances, boots = _variances(a, b)
    error, freedom = welch(variances, boots)
    wider = np.minimum(widening(variances, boots)[0], 1 + MIN_BOOTS / min(boots))
    return _around(a.mean(axis=1) - b.mean(axis=1), error * wider, freedom)


def welch_alone(a, b):
    """Welch's t on the logarithms."""
    return _around(a.mean(axis=1) - b.mean(axis=1), *welch(*_variances(a, b)))


def fewest_freedom(a, b):
    """Welch's t with the degrees of freedom of the smaller side."""
    error, freedom = welch(*_variances(a, b))
    freedom = np.full_like(freedom, min(a.shape[1], b.shape[1]) - 1)
    return _around(a.mean(axis=1) - b.mean(axis=1), error, freedom)


def larger_spread(a, b):
    """The larger of the two spreads for both sides, degrees of freedom of one."""
    variances, boots = _variances(a, b)
    error = np.sqrt(2 * np.maximum(*variances) / min(boots))
    return _around(a.mean(axis=1) - b.mean(axis=1), error, min(boots) - 1)


def hall(a, b):
    """Hall's (1992) transformation of Welch's t, which corrects for the observed skewness."""
    error, freedom = welch(*_variances(a, b))
    third = sum(
        sign
        * ((side - side.mean(axis=1, keepdims=True)) ** 3).mean(axis=1)
        * count**2
        / ((count - 1) * (count - 2))
        / count**2
        for sign, side, count in ((1, a, a.shape[1]), (-1, b, b.shape[1]))
    )
    skew = np.clip(third / (6 * error**3), -0.5, 0.5)
    skew = np.where(np.abs(skew) < 1e-9, 1e-9, skew)

    def back(t):
        return (np.cbrt(1 + 6 * skew * (t - skew)) - 1) / (2 * skew)

    difference, t = a.mean(axis=1) - b.mean(axis=1), stats.t.ppf(1 - ALPHA / 2, freedom)
    return difference - error * back(t), difference - error * back(-t)


def yuen(a, b):
    """Yuen's (1974) t on means trimmed by 20 % (at three and four boots nothing is trimmed)."""
    means, parts, kept = [], [], []
    for side in (a, b):
        count = side.shape[1]
        cut = int(0.2 * count)
        inner = np.sort(side, axis=1)[:, cut : count - cut]
        wins = np.clip(np.sort(side, axis=1), inner[:, :1], inner[:, -1:])
        means.append(inner.mean(axis=1))
        kept.append(inner.shape[1])
        parts.append((count - 1) * wins.var(axis=1, ddof=1) / (kept[-1] * (kept[-1] - 1)))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (count - 1) for part, count in zip(parts, kept, strict=True)
    )
    return _around(means[0] - means[1], np.sqrt(sum(parts)), freedom)


def raw_times(a, b):
    """Welch's t on the times, not on their logarithms."""
    one, other = np.exp(a), np.exp(b)
    low, high = welch_alone(one, other)
    return np.log(np.maximum(1 + low, 1e-9)), np.log1p(high)


def permutations(a, b):
    """Welch alone, confirmed by a permutation test at 0.05."""
    found = stats.permutation_test(
        (a[:1_000], b[:1_000]),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        axis=1,
        vectorized=True,
        n_resamples=1_000,
        batch=100,
        rng=np.random.default_rng(1),
    )
    low, high = welch_alone(a[:1_000], b[:1_000])
    unsure = found.pvalue >= ALPHA
    return np.where(unsure, np.minimum(low, 0), low), np.where(unsure, np.maximum(high, 0), high)


RULES = (
    *(used, by_boots, welch_alone, fewest_freedom, larger_spread, hall, yuen, raw_times),
    permutations,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--boots", type=int, nargs="+", default=(3, 5, 10, 20))
    given = parser.parse_args()
    experiments = given.experiments
    pairs = [*((noise, noise) for noise in NOISES), *UNLIKE]
    limit = np.log1p(SMALLEST_EFFECT)
    for boots in given.boots:
        table(
            f"{boots} boots a side: false claims / coverage / 10 % shown",
            "noise",
            *(rule.__name__.replace("_", " ") for rule in RULES),
        )
        cells = {}
        for (left, right), rule in product(pairs, RULES):
            rng = np.random.default_rng(boots)
            a, b = left(rng, (experiments, boots)), right(rng, (experiments, boots))
            low, high = rule(a, b)
            claims = ((low > limit) | (high < -limit)).mean()
            covers = ((low <= 0) & (high >= 0)).mean()
            one, other = rule(a + np.log(1.1), b)[0], rule(a - np.log(1.1), b)[1]
            power = ((one > limit).mean() + (other < -limit).mean()) / 2
            cells[left, right, rule] = f"{claims:.1%} / {covers:.1%} / {power:.0%}"
        for left, right in pairs:
            name = left.__name__ if left is right else f"{left.__name__} / {right.__name__}"
            line(name, *(cells[left, right, rule] for rule in RULES))


if __name__ == "__main__":
    main()
