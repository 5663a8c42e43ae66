"""Finds steps in a series of values, run by run.

Each run is judged by the runs up to it, so that later runs neither revoke a step nor add one in the
past. This is for ratios to a baseline in the same run, which are independent of each other;
`harness.analysis.contrasts` is for times. docs/explanation/history.md explains the choices and
gives the error rates.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Weigh = Callable[[NDArray[np.int_]], Floats]


@dataclass(frozen=True)
class Rule:
    """The parameters of detection, calibrated by `python -m benchmarks.history`.

    `alpha`: p below which a step is accepted, divided by ten for each run of the new level fewer
    than `settling_runs`. `confirmations`: minimum runs on the new level. `learning`: minimum runs
    on the old level, if the noise is not known yet. `clip`: deviations are limited to this many
    standard deviations. `scatter_alpha`: p below which the boots of the new level count as
    scattered more, so that its runs get less weight. `smallest`: smaller relative changes are not
    reported. `longest`: runs to look back; `latest`: runs within which a step must be found, as
    every further test adds to the rate of false alarms.
    """

    alpha: float = 1e-6
    settling_runs: int = 5
    confirmations: int = 3
    learning: int = 8
    clip: float = 4.0
    scatter_alpha: float = 0.05
    smallest: float = 0.005
    longest: int = 120
    latest: int = 40


class Scatter(NamedTuple):
    """The scatter of boots, one value per run.

    `squares`: sum of squared deviations of logarithms from the mean of their run and side;
    `freedom`: degrees of freedom.
    """

    squares: Floats
    freedom: Floats


@dataclass(frozen=True)
class LevelStep:
    """A change of level. `at`: index of the first run on the new level; `found`: of the run that
    confirmed it. `shift`, `low`, `high`: logarithms, with the 95 % interval.
    """

    at: int
    found: int
    shift: float
    low: float
    high: float


@dataclass(frozen=True)
class _Noise:
    """The noise between runs within levels: squares and degrees of freedom."""

    squares: float = 0.0
    freedom: float = 0.0

    def joined(self, other: "_Noise") -> "_Noise":
        """Return the sum with that of another level, with a limited weight of earlier levels."""
        decay = min(1.0, _REMEMBERED / self.freedom) if self.freedom else 1.0
        return _Noise(self.squares * decay + other.squares, self.freedom * decay + other.freedom)


_REMEMBERED = 60.0  # maximum degrees of freedom of earlier levels
LEAST_NOISE = 1e-4  # of a logarithm, as times are counted in whole microseconds
_MAD_TO_DEVIATION = 1.4826  # for the normal distribution
_MOST_SCATTER = 8.0  # times the median of the runs, to limit the effect of a single boot


def find_steps(
    values: Floats,
    restarts: Sequence[int] = (),
    rule: Rule | None = None,
    scatter: Scatter | None = None,
) -> list[LevelStep]:
    """Return the steps of `values` (logarithms, one per run, in order).

    `restarts`: indices at which the conditions changed; runs are not compared across them.
    `scatter`: of each run's boots, if known.
    """
    rule = rule or Rule()
    scatter = scatter or Scatter(np.zeros(len(values)), np.zeros(len(values)))
    found: list[LevelStep] = []
    noise, begin = _Noise(), 0
    for run in range(len(values)):
        if run in restarts:
            noise, begin = noise.joined(_noise_of(values[begin:run], noise, rule)), run
        first = max(begin, run + 1 - rule.longest)
        weigh = functools.partial(_weights, scatter, first, run, rule)
        step = _judge_run(values[first : run + 1], noise, rule, weigh)
        if step:
            step = replace(step, at=first + step.at, found=run)
            found.append(step)
            noise = noise.joined(_noise_of(values[begin : step.at], noise, rule))
            begin = step.at
    return found


def outliers(values: Floats, levels: Sequence[int], limit: float = 5.0) -> Iterator[int]:
    """Yield the indices of values far from the median of their level.

    `levels`: indices at which levels begin; `limit`: in robust standard deviations.
    """
    if len(values) < 5:
        return
    parts = [values[a:b] for a, b in zip(levels, [*levels[1:], len(values)], strict=True)]
    rest = np.concatenate([part - np.median(part) for part in parts])
    spread = max(_MAD_TO_DEVIATION * float(np.median(np.abs(rest))), LEAST_NOISE)
    yield from (int(run) for run in np.flatnonzero(np.abs(rest) > limit * spread))


def _weights(scatter: Scatter, begin: int, run: int, rule: Rule, sizes: NDArray[np.int_]) -> Floats:
    """Return the variance of the runs after each split relative to those before, at least 1.

    `sizes`: splits of the level from `begin` to `run`. It is 1 unless the boots after the split
    scatter more than those before, by an F test.
    """
    first = max(0, run + 1 - rule.longest)
    squares, freedom = scatter.squares[first : run + 1], scatter.freedom[first : run + 1]
    spreads = squares[freedom > 0] / freedom[freedom > 0]
    most = _MOST_SCATTER * float(np.median(spreads)) if len(spreads) else 0.0
    sums = np.cumsum(np.minimum(squares, most * freedom))
    counts = np.cumsum(freedom)
    last = begin + sizes - 1 - first
    before, after = counts[last], counts[-1] - counts[last]
    known = (before > 0) & (after > 0) & (sums[last] > 0)
    ratio = np.ones(len(sizes))
    np.divide((sums[-1] - sums[last]) * before, sums[last] * after, out=ratio, where=known)
    more = special.fdtrc(np.maximum(after, 1), np.maximum(before, 1), ratio)
    weights: Floats = np.where((ratio > 1) & (more < rule.scatter_alpha), ratio, 1.0)
    return weights


def _judge_run(level: Floats, noise: _Noise, rule: Rule, weigh: Weigh) -> LevelStep | None:
    """Return the step near the end of `level`, if there is one; `at` is relative to it."""
    count = len(level)
    before = rule.confirmations if noise.freedom >= rule.learning else rule.learning
    if count < before + rule.confirmations:
        return None
    clipped = _clipped(level, noise, rule)
    sizes = np.arange(max(before, count - rule.latest), count - rule.confirmations + 1)
    # Weights only increase p, so most runs need none.
    if not _believed(_tests(clipped, sizes, noise, 1.0), count - sizes, rule).any():
        return None
    if not _believed(_tests(clipped, sizes, noise, weigh(sizes)), count - sizes, rule).any():
        return None
    size = max(_locate(clipped, rule), int(sizes[0]))
    weight = weigh(np.array([size]))
    p = float(_tests(clipped, np.array([size]), noise, weight)[0])
    step = _measured(level, size, noise, rule, float(weight[0]))
    if not _believed(p, count - size, rule) or abs(np.expm1(step.shift)) < rule.smallest:
        return None
    return step


def _believed(p: Any, runs: Any, rule: Rule) -> Any:
    """Return whether p is small enough for a new level of `runs` runs."""
    return p * 10.0 ** np.maximum(rule.settling_runs - runs, 0) < rule.alpha


def _clipped(level: Floats, noise: _Noise, rule: Rule) -> Floats:
    """Return deviations from the level's median, limited to `rule.clip`."""
    away = level - np.median(level)
    reach = rule.clip * _spread(away, noise)
    clipped: Floats = np.clip(away, -reach, reach)
    return clipped


def _spread(away: Floats, noise: _Noise) -> float:
    """Return a standard deviation that is robust to single outliers."""
    known = (noise.squares / noise.freedom) ** 0.5 if noise.freedom else 0.0
    own = _MAD_TO_DEVIATION * float(np.median(np.abs(away)))
    share = noise.freedom / (noise.freedom + len(away))
    return max(share * known + (1 - share) * own, LEAST_NOISE)


def _tests(
    level: Floats, sizes: NDArray[np.int_], noise: _Noise, weights: Floats | float
) -> Floats:
    """Return p of Student's t test between the first `sizes` runs and the rest, for each size.

    `weights`: variance of the rest's runs relative to the others', for each size.
    """
    count, total, squares = len(level), level.sum(), (level**2).sum()
    first = np.cumsum(level)[sizes - 1]
    mean_a, mean_b = first / sizes, (total - first) / (count - sizes)
    within = squares - sizes * mean_a**2 - (count - sizes) * mean_b**2
    freedom = count - 2 + noise.freedom
    variance = np.maximum((within + noise.squares) / freedom, LEAST_NOISE**2)
    t = np.abs(mean_a - mean_b) / np.sqrt(variance * (1 / sizes + weights / (count - sizes)))
    # scipy.stats has too much overhead for every run
    p: Floats = 2 * special.stdtr(freedom, -t)
    return p


def _locate(level: Floats, rule: Rule) -> int:
    """Return the number of runs before the step, by least squares."""
    sizes = np.arange(rule.confirmations, len(level) - rule.confirmations + 1)
    first = np.cumsum(level)[sizes - 1]
    between = first**2 / sizes + (level.sum() - first) ** 2 / (len(level) - sizes)
    return int(sizes[between.argmax()])


def _measured(level: Floats, size: int, noise: _Noise, rule: Rule, weight: float) -> LevelStep:
    """Return the step after `size` runs; each side is clipped separately."""
    a, b = level[:size], level[size:]
    parts = [_clipped(part, noise, rule) + np.median(part) for part in (a, b)]
    shift = float(parts[1].mean() - parts[0].mean())
    own = _Noise(sum(float(((part - part.mean()) ** 2).sum()) for part in parts), len(level) - 2)
    both = noise.joined(own)
    error = max((both.squares / both.freedom) ** 0.5, LEAST_NOISE)
    reach = stats.t.ppf(0.975, both.freedom) * error * (1 / len(a) + weight / len(b)) ** 0.5
    return LevelStep(size, 0, shift, shift - reach, shift + reach)


def _noise_of(level: Floats, noise: _Noise, rule: Rule) -> _Noise:
    """Return the noise between the runs of a level."""
    if len(level) < 2:
        return _Noise()
    kept = _clipped(level, noise, rule)
    return _Noise(float(((kept - kept.mean()) ** 2).sum()), len(level) - 1)
