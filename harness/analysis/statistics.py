"""The statistics of one table of comparisons: arrays in, arrays out; docs/statistics.md says why.

Shapes: `baseline` is (rows, boots of the baseline), `candidate` (rows, boots of the candidate);
every value is one boot's time, in any unit. All rows are worked at once.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
MIN_BOOTS = 3  # a side; with fewer the spread between boots is not known well enough to claim
BCA_BOOTS = 10  # a side; with fewer BCa's interval covers too seldom (docs/statistics.md)
_RESAMPLES = 1_999
_PERMUTATIONS = 3_500  # all splits of up to 7 boots v 7
_MANY_BOOTS = 100  # together; from here on fewer resamples say as much
_BATCH_VALUES = 4_000_000  # resampled values held at a time: 32 MB


@dataclass(frozen=True)
class Effects:
    """What was found, one value a row; ratios are baseline time over candidate time.

    `p` belongs to Welch's t on the logarithms and decides; `p_permutation` is shown beside it.
    `detectable` is the smallest speed-up, as a fraction, that these boots show 4 times in 5.
    """

    ratio: Floats
    low: Floats
    high: Floats
    p: Floats
    p_permutation: Floats
    shift: Floats
    detectable: Floats


def compare_boots(
    baseline: Floats, candidate: Floats, rng: np.random.Generator, resolution: float = 0.0
) -> Effects:
    """Compare two sides of at least two boots each; see `Effects`.

    `resolution` is the step in which times were counted, in their unit. Boots that agree to the
    last digit are taken to differ by a rounding error, so a deterministic target has no p of 0.
    """
    a, b = np.log(baseline), np.log(candidate)
    difference = a.mean(axis=1) - b.mean(axis=1)
    error, freedom = welch(
        _variance(a, baseline, resolution),
        a.shape[1],
        _variance(b, candidate, resolution),
        b.shape[1],
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread and no difference: p is 1
        t = np.where(difference == 0, 0.0, np.abs(difference) / error)
    reach = stats.t.ppf(1 - ALPHA / 2, freedom) * error
    low, high = difference - reach, difference + reach
    if min(a.shape[1], b.shape[1]) >= BCA_BOOTS:
        varied = (np.ptp(a, axis=1) > 0) & (np.ptp(b, axis=1) > 0)
        low[varied], high[varied] = _expanded_bca(a[varied], b[varied], rng)
    return Effects(
        ratio=np.exp(difference),
        low=np.exp(low),
        high=np.exp(high),
        p=2 * stats.t.sf(t, freedom),
        p_permutation=_permutation_p(a, b, rng),
        shift=hodges_lehmann(baseline, candidate),
        detectable=np.expm1(detectable_shift(error, freedom)),
    )


def _variance(logs: Floats, times: Floats, resolution: float) -> Floats:
    """Variance between boots of the logarithm, at least that of rounding (step^2 / 12)."""
    rounding = resolution**2 / 12 / times.mean(axis=1) ** 2
    return cast("Floats", np.maximum(logs.var(axis=1, ddof=1), rounding))


def welch(
    variance_a: Floats, boots_a: int, variance_b: Floats, boots_b: int
) -> tuple[Floats, Floats]:
    """Return the standard error of a difference of means, and its degrees of freedom.

    The sides need not have the same spread. Of the two estimates of the degrees of freedom,
    Satterthwaite's (1946) shows too little with three boots and Welch's own (1947) too much; their
    mean keeps the error rate between 3.8 % and 6.3 % (docs/statistics.md).
    """
    a, b = variance_a / boots_a, variance_b / boots_b
    square = np.where(a + b > 0, (a + b) ** 2, 1.0)
    satterthwaite = square / np.where(a + b > 0, a**2 / (boots_a - 1) + b**2 / (boots_b - 1), 1.0)
    own = square / np.where(a + b > 0, a**2 / (boots_a + 1) + b**2 / (boots_b + 1), 1.0) - 2
    own = np.clip(own, min(boots_a, boots_b) - 1, boots_a + boots_b - 2)
    return np.sqrt(a + b), np.where(a + b > 0, (satterthwaite + own) / 2, 1.0)


def _difference(a: Floats, b: Floats, axis: int) -> Any:
    return a.mean(axis=axis) - b.mean(axis=axis)


def _expanded_bca(a: Floats, b: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """BCa (Efron 1987) at the level that makes up for few boots (Hesterberg 2015, section 5.3).

    Resampling n boots understates their variance by (n - 1) / n and knows no t quantile. Its
    degrees of freedom lie between n - 1 (one side varies) and 2n - 2 (both alike): the middle.
    """
    if not len(a):
        return np.empty(0), np.empty(0)
    boots = min(a.shape[1], b.shape[1])
    wider = np.sqrt(boots / (boots - 1)) * stats.t.ppf(1 - ALPHA / 2, 1.5 * (boots - 1))
    found = stats.bootstrap(
        (a, b),
        _difference,
        axis=-1,
        vectorized=True,
        method="BCa",
        n_resamples=_RESAMPLES,
        confidence_level=1 - 2 * stats.norm.sf(wider),
        rng=rng,
        batch=_batch(a, b),
    ).confidence_interval
    return np.atleast_1d(found.low), np.atleast_1d(found.high)


def _permutation_p(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """Two-sided p of the difference of mean logarithms; exact where all splits can be tried."""
    many = a.shape[1] + b.shape[1] > _MANY_BOOTS
    found = stats.permutation_test(
        (a, b),
        _difference,
        axis=-1,
        vectorized=True,
        rng=rng,
        batch=_batch(a, b),
        n_resamples=_PERMUTATIONS // 5 if many else _PERMUTATIONS,
    )
    return np.atleast_1d(found.pvalue)


def _batch(a: Floats, b: Floats) -> int:
    return max(1, _BATCH_VALUES // max(1, a.size + b.size))


def hodges_lehmann(baseline: Floats, candidate: Floats) -> Floats:
    """Return the median of all differences candidate - baseline (Hodges and Lehmann 1963)."""
    return np.array(
        [np.median(np.subtract.outer(c, b)) for b, c in zip(baseline, candidate, strict=True)]
    )


def power_at(shift: Any, error: Any, freedom: Any) -> Any:
    """Return the chance that a t test at `ALPHA` shows a true `shift` in its right direction."""
    return stats.nct.sf(stats.t.ppf(1 - ALPHA / 2, freedom), freedom, shift / error)


def detectable_shift(error: Floats, freedom: Floats, power: float = POWER) -> Floats:
    """Return the smallest shift, in units of `error`'s, that is shown with `power` (bisection)."""
    low, high = np.zeros_like(error), np.full_like(error, 200.0)
    for _ in range(40):
        middle = (low + high) / 2
        enough = power_at(middle, 1.0, freedom) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high * error
