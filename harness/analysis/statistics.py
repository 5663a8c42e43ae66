"""The statistics of a table of comparisons, on arrays.

docs/explanation/statistics.md explains the choices. Shapes: `baseline` is (rows, boots of the
baseline), `candidate` (rows, boots of the candidate); every value is the time of a boot, in any
unit.
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
MIN_BOOTS = 3  # of each side; with fewer the spread between boots is too uncertain
UNEQUAL_SPREADS = 0.2  # p of the F test below which the sides' spreads count as different
SMALLEST_EFFECT = 0.005  # as a fraction; smaller effects are not reported
_PERMUTATIONS = 3_500  # enough for all permutations of 7 and 7 boots
_MANY_BOOTS = 100  # of both sides, from which on fewer resamples suffice
_BATCH_VALUES = 4_000_000  # resampled values in memory: 32 MB


@dataclass(frozen=True)
class Effects:
    """The results, one value per row; ratios are baseline time / candidate time.

    `low`, `high`: 95 % interval, which includes the rounding of the times. `p`: of the hypothesis
    that the difference is not larger than the smallest effect of interest (Welch's t test on
    logarithms); below 0.05 exactly if the whole interval is beyond that effect. `p_alike`: of the
    hypothesis that it is at least as large (two one-sided tests); below 0.05 exactly if the 90 %
    interval is within it. `p_permutation`: of no difference at all, for information. `shift`:
    candidate - baseline. `error`, `freedom`: standard error of the logarithm of the ratio and its
    degrees of freedom. `spare`: factor by which the error would be larger if the sides' spreads
    had been found to differ, which happens by chance in 20 %. `unseen`: largest logarithm that is
    not reported: smallest effect plus rounding.
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
    """Independent values of shape (rows, boots): logarithms of times, or of ratios in blocks."""

    sign: int
    logs: Floats
    rounding: Floats  # variance of a value due to rounding, by row


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
    """Compare two sides with at least two boots each.

    `rng`: for random permutations; None leaves `p_permutation` missing. `resolution`: the unit in
    which times were counted, in their unit; the rounding error of the ratio is not averaged out by
    boots. `paired`: boots in the same column are a block. `references`: times of a reference kernel
    in the sessions of both sides, by which the times are divided, so that effects of a session on
    all kernels cancel.
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
    with np.errstate(over="ignore"):  # the ratio of times below the resolution is unbounded
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
    """Return a distance in standard errors; without any spread it is infinite, or 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / error)


def _groups(sides: Sequence[tuple[int, Floats]], resolution: float, paired: bool) -> list[_Group]:
    """Return the independent groups: each side, or with blocks the differences within blocks.

    A block consists of both sides, or of a side and its reference.
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

    The groups may have different spreads. With three boots Satterthwaite's (1946) estimate of the
    degrees of freedom is conservative and Welch's (1947) liberal, so their mean is used
    (docs/results/statistics.md has the rates). For one group both are boots - 1.
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
    """Return the factor to apply to the standard error, and `Effects.spare`.

    The factor exceeds 1 if the spreads of two sides differ (F test). Then one side may be skewed,
    bimodal or have outliers, and its few boots may happen to be close together, which a t test
    alone would trust. The error is then at least what it would be if both had the larger spread.
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
    """Return two-sided p by permutation of boots, or of signs with blocks; NaN for more groups.

    Exact if all permutations can be computed.
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

    With blocks: the median of the means of any two blocks' differences.
    """
    if paired:
        inner = candidate - baseline
        first, second = np.triu_indices(inner.shape[1])
        return cast("Floats", np.median((inner[:, first] + inner[:, second]) / 2, axis=1))
    every = candidate[:, :, None] - baseline[:, None, :]
    found: Floats = np.median(every.reshape(len(every), -1), axis=1)
    return found


def power_at(shift: Any, error: Any, freedom: Any, alpha: float = ALPHA, spare: Any = 1.0) -> Any:
    """Return the power of a t test at level `alpha` to show a true `shift` in its direction.

    `spare`: as in `Effects`, for sides with equal spreads.
    """
    critical = stats.t.ppf(1 - alpha / 2, freedom)
    found = stats.nct.sf(critical, freedom, shift / error)
    wide = stats.nct.sf(critical * spare, freedom, shift / error)
    return (1 - UNEQUAL_SPREADS) * found + UNEQUAL_SPREADS * wide


def detectable_shift(
    error: Floats, freedom: Floats, spare: Floats, alpha: float = ALPHA, power: float = POWER
) -> Floats:
    """Return the smallest shift, in the unit of `error`, that is shown with `power`.

    Solved by bisection.
    """
    low, high = np.zeros_like(error), 6 * spare * stats.t.ppf(1 - alpha / 2, freedom) + 10
    for _ in range(25):
        middle = (low + high) / 2
        enough = power_at(middle, 1.0, freedom, alpha, spare) >= power
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return cast("Floats", high * error)
