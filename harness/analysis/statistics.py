"""The statistics of one table of comparisons: arrays in, arrays out.

docs/explanation/statistics.md says why.

Shapes: `baseline` is (rows, boots of the baseline), `candidate` (rows, boots of the candidate);
every value is one boot's time, in any unit. All rows are worked at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
MIN_BOOTS = 3  # a side; with fewer the spread between boots is not known well enough to claim
UNEQUAL_SPREADS = 0.2  # p of the F test below which the spreads of the sides are taken to differ
SMALLEST_EFFECT = 0.005  # as a fraction: smaller ones are not reported, see playbooks
_PERMUTATIONS = 3_500  # all splits of up to 7 boots v 7
_MANY_BOOTS = 100  # together; from here on fewer resamples say as much
_BATCH_VALUES = 4_000_000  # resampled values held at a time: 32 MB


@dataclass(frozen=True)
class Effects:
    """What was found, one value a row; ratios are baseline time over candidate time.

    `low`, `high`: 95 % interval, the rounding of the times included. `p`: of the hypothesis that
    the difference is no larger than the smallest effect of interest (Welch's t on the logarithms);
    below 0.05 exactly where the whole interval lies beyond that effect. `p_alike`: of the
    hypothesis that it is at least as large (two one-sided tests); below 0.05 exactly where the
    90 % interval lies within it. `p_permutation`: of no difference at all, shown beside them.
    `shift`: candidate - baseline. `error`, `freedom`: standard error of the logarithm of the ratio,
    and its degrees of freedom. `spare`: the factor by which that error would be larger had the
    sides' spreads been seen to differ, which happens by chance in one of five. `unseen`: how large
    that logarithm may be without being reported: smallest effect and rounding.
    """

    ratio: Floats
    low: Floats
    high: Floats
    p: Floats
    p_alike: Floats
    p_permutation: Floats
    shift: Floats
    error: Floats
    freedom: Floats
    spare: Floats
    unseen: Floats


class _Group(NamedTuple):
    """Independent values, (rows, boots): logarithms of times or of ratios within blocks."""

    sign: int
    logs: Floats
    rounding: Floats  # variance that rounding alone gives each value, by row


def compare_boots(
    baseline: Floats,
    candidate: Floats,
    rng: np.random.Generator | None,
    resolution: float = 0.0,
    *,
    smallest: float = SMALLEST_EFFECT,
    paired: bool = False,
    references: tuple[Floats, Floats] | None = None,
) -> Effects:
    """Compare two sides of at least two boots each; see `Effects`.

    `rng`: of the permutations that are drawn; None leaves `p_permutation` missing.
    `resolution` is the step in which times were counted, in their unit: a bound on how wrong the
    ratio may be, which no number of boots averages out. `paired`: boots in the same column are one
    block. `references`: times of another kernel in the sessions of both sides; then the ratio is
    that of the references over that of the sides, and what a session does to all kernels cancels.
    """
    sides = [(1, baseline), (-1, candidate)]
    sides += [] if references is None else [(-1, references[0]), (1, references[1])]
    groups = _groups(sides, resolution, paired)
    difference = np.sum([group.sign * group.logs.mean(axis=1) for group in groups], axis=0)
    variances = [np.maximum(g.logs.var(axis=1, ddof=1), g.rounding) for g in groups]
    boots = [group.logs.shape[1] for group in groups]
    error, freedom = welch(variances, boots)
    widened, spare = widening(variances, boots)
    error = error * widened
    rounding = resolution / 2 * np.sum([1 / times.mean(axis=1) for _, times in sides], axis=0)
    reach = stats.t.ppf(1 - ALPHA / 2, freedom) * error + rounding
    limit = np.log1p(smallest)
    size = np.abs(difference)
    with np.errstate(over="ignore"):  # times below the clock's step have no upper bound
        ratio, low, high = (np.exp(difference + by) for by in (0, -reach, reach))
    return Effects(
        ratio=ratio,
        low=low,
        high=high,
        p=np.minimum(1.0, 2 * stats.t.sf(_in_errors(size - limit - rounding, error), freedom)),
        p_alike=stats.t.sf(_in_errors(limit - size - rounding, error), freedom),
        p_permutation=_permutation_p(groups, rng) if rng else np.full(len(size), np.nan),
        shift=_shift(baseline, candidate, paired),
        error=error,
        freedom=freedom,
        spare=spare,
        unseen=limit + rounding,
    )


def _in_errors(distance: Floats, error: Floats) -> Any:
    """Return a distance in standard errors; without any spread it is endless, or 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / error)


def _groups(sides: Sequence[tuple[int, Floats]], resolution: float, paired: bool) -> list[_Group]:
    """Return the independent groups: each side, or with blocks the differences within them.

    Blocks are of one session: both sides, or each side with its own reference.
    """
    groups = [
        _Group(sign, np.log(times), resolution**2 / 12 / times.mean(axis=1) ** 2)
        for sign, times in sides
    ]
    if not paired:
        return groups
    half = len(groups) // 2
    return [
        _Group(a.sign, a.logs - b.logs, a.rounding + b.rounding)
        for a, b in zip(groups[:half], groups[half:], strict=True)
    ]


def welch(variances: Sequence[Floats], boots: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the standard error of a sum or difference of means, and its degrees of freedom.

    The groups need not have the same spread. Of the two estimates of the degrees of freedom,
    Satterthwaite's (1946) shows too little with three boots and Welch's own (1947) too much; their
    mean is used (docs/results/statistics.md has the rates). For one group both are boots - 1.
    """
    parts = [variance / count for variance, count in zip(variances, boots, strict=True)]
    total = np.sum(parts, axis=0)
    known = total > 0
    square = np.where(known, total**2, 1.0)

    def over(more: int) -> Any:
        found = [part**2 / (count + more) for part, count in zip(parts, boots, strict=True)]
        return square / np.where(known, np.sum(found, axis=0), 1.0)

    own = np.clip(over(1) - 2, min(boots) - 1, sum(boots) - len(boots))
    return np.sqrt(total), np.where(known, (over(-1) + own) / 2, 1.0)


def widening(variances: Sequence[Floats], boots: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the factor on the standard error, and by how much more it might have been wider.

    It is more than 1 where the two sides' spreads differ (F test): then one side may be skewed,
    have two states or rare odd boots and the other not, and boots of it may all lie on one side of
    their mean, close together, which t alone would take for certain. The error is then no less than
    if both sides had the larger spread. Only two sides are widened.
    """
    one = np.ones_like(variances[0])
    if len(variances) != 2:
        return one, one
    (a, b), widest = variances, 1 + MIN_BOOTS / min(boots)
    tail = UNEQUAL_SPREADS / 2
    low, high = stats.f.ppf([tail, 1 - tail], boots[0] - 1, boots[1] - 1)
    unlike = (a < low * b) | (a > high * b)
    alone = np.where(unlike, a / boots[0] + b / boots[1], 1.0)
    larger = np.sqrt(np.maximum(a, b) * (1 / boots[0] + 1 / boots[1]) / alone)
    return np.where(unlike, np.maximum(larger, widest), one), np.where(unlike, one, widest)


def _difference(a: Floats, b: Floats, axis: int) -> Any:
    return a.mean(axis=axis) - b.mean(axis=axis)


def _mean(values: Floats, axis: int) -> Any:
    return values.mean(axis=axis)


def _permutation_p(groups: Sequence[_Group], rng: np.random.Generator) -> Floats:
    """Two-sided p by permutation of boots, or of signs within blocks; missing for more groups.

    Exact where all permutations can be tried.
    """
    logs = tuple(group.logs for group in groups)
    if len(logs) > 2:
        return np.full(len(logs[0]), np.nan)
    boots = sum(side.shape[1] for side in logs)
    found = stats.permutation_test(
        logs,
        _difference if len(logs) == 2 else _mean,
        permutation_type="independent" if len(logs) == 2 else "samples",
        axis=-1,
        vectorized=True,
        rng=rng,
        batch=max(1, _BATCH_VALUES // max(1, sum(side.size for side in logs))),
        n_resamples=_PERMUTATIONS // 5 if boots > _MANY_BOOTS else _PERMUTATIONS,
    )
    return np.atleast_1d(found.pvalue)


def _shift(baseline: Floats, candidate: Floats, paired: bool) -> Floats:
    """Return the median of all differences candidate - baseline (Hodges and Lehmann 1963).

    With blocks: of the means of any two blocks' differences.
    """
    if paired:
        inner = candidate - baseline
        first, second = np.triu_indices(inner.shape[1])
        return cast("Floats", np.median((inner[:, first] + inner[:, second]) / 2, axis=1))
    every = candidate[:, :, None] - baseline[:, None, :]
    found: Floats = np.median(every.reshape(len(every), -1), axis=1)
    return found


def power_at(shift: Any, error: Any, freedom: Any, alpha: float = ALPHA, spare: Any = 1.0) -> Any:
    """Return the chance that a t test at `alpha` shows a true `shift` in its right direction.

    `spare`: as in `Effects`, for sides whose spreads are alike.
    """
    critical = stats.t.ppf(1 - alpha / 2, freedom)
    found = stats.nct.sf(critical, freedom, shift / error)
    wide = stats.nct.sf(critical * spare, freedom, shift / error)
    return (1 - UNEQUAL_SPREADS) * found + UNEQUAL_SPREADS * wide


def detectable_shift(
    error: Floats, freedom: Floats, spare: Floats, alpha: float = ALPHA, power: float = POWER
) -> Floats:
    """Return the smallest shift, in units of `error`'s, that is shown with `power` (bisection)."""
    low, high = np.zeros_like(error), 6 * spare * stats.t.ppf(1 - alpha / 2, freedom) + 10
    for _ in range(25):
        middle = (low + high) / 2
        enough = power_at(middle, 1.0, freedom, alpha, spare) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return cast("Floats", high * error)
