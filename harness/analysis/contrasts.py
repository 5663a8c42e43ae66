"""Finds steps in the times of runs that are not independent.

Without a baseline in the same run, times include drift, seasons and slow phases of the host. No
model of these is fitted. Instead, a step is a contrast between the newest runs and those before
them that is much larger than earlier contrasts of the series, which drift and swings increase as
well. docs/explanation/history.md explains the choices and gives the error rates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import stats

from harness.analysis.steps import LEAST_NOISE, Floats, LevelStep


@dataclass(frozen=True)
class LocalRule:
    """The parameters of detection, calibrated by `python -m benchmarks.history`.

    `new`: numbers of newest runs to compare with the `old` runs before them. `limit`: minimum ratio
    of a contrast to its usual size. `memory`: number of earlier contrasts for the usual size, at
    least `learning`. `smallest`: smaller relative changes are not reported.
    """

    new: tuple[int, ...] = (5, 7, 10)
    old: int = 15
    limit: float = 6.0
    memory: int = 120
    learning: int = 60
    smallest: float = 0.005


class _Contrasts(NamedTuple):
    """The contrasts of all runs for a number of new runs.

    `score`: ratio to the usual size; `usual`: that size; both 0 if unknown. `freedom`: number of
    independent contrasts in the usual size.
    """

    score: Floats
    usual: Floats
    freedom: Floats


def find_local_steps(
    values: Floats, restarts: Sequence[int] = (), rule: LocalRule | None = None
) -> list[LevelStep]:
    """Return the steps of `values` (logarithms of times, one per run, in order).

    `restarts`: indices at which the conditions changed; runs are not compared across them. A run is
    judged by the runs before it only. After a step, earlier runs are shifted to the new level.
    """
    rule = rule or LocalRule()
    levelled = np.array(values, float)
    found: list[LevelStep] = []
    judged = -1
    while True:
        contrasts = [_contrasts(levelled, restarts, new, rule) for new in rule.new]
        scores = np.array([contrast.score for contrast in contrasts])
        alarms = np.flatnonzero((scores > rule.limit).any(axis=0))
        steps = (
            _step(levelled, int(run), contrasts[scores[:, run].argmax()], restarts, found, rule)
            for run in alarms[alarms > judged]
        )
        step = next((step for step in steps if step is not None), None)
        if step is None:
            return found
        found.append(step)
        judged = step.found
        levelled[: step.at] += step.shift


def detectable_change(
    values: Floats,
    steps: Sequence[LevelStep],
    restarts: Sequence[int] = (),
    rule: LocalRule | None = None,
) -> float | None:
    """Return the relative change that would be detected now; None with too few runs.

    `steps`: from `find_local_steps` for `values`. Half of the changes of this size are detected,
    after about ten runs.
    """
    rule = rule or LocalRule()
    levelled = np.array(values, float)
    for step in steps:
        levelled[: step.at] += step.shift
    contrasts = [_contrasts(levelled, restarts, new, rule) for new in rule.new]
    known = [found.usual[-1] for found in contrasts if len(values) and found.usual[-1] > 0]
    return float(np.expm1(rule.limit * min(known))) if known else None


def _contrasts(values: Floats, restarts: Sequence[int], new: int, rule: LocalRule) -> _Contrasts:
    """Return the contrasts of all runs, with a score of 0 where there is none."""
    runs, both = len(values), new + rule.old
    score, usual, freedom = np.zeros(runs), np.zeros(runs), np.ones(runs)
    if runs < both:
        return _Contrasts(score, usual, freedom)
    windows = sliding_window_view(values, both)
    before, since = windows[:, : rule.old], windows[:, rule.old :]
    level = trimmed_mean(before)
    contrast = trimmed_mean(since) - level
    begins = np.zeros(runs, int)
    for restart in sorted(restarts):
        begins[restart:] = restart
    last = np.arange(both - 1, runs)
    valid = last - both + 1 >= begins[last]
    squares, counts = (_running_sum(values) for values in (contrast**2 * valid, valid))
    end = np.maximum(np.arange(len(contrast)) - new + 1, 0)
    begin = np.maximum(end - rule.memory, 0)
    count = counts[end] - counts[begin]
    earlier = (squares[end] - squares[begin]) / np.maximum(count, 1)
    within = rule.old * before.var(axis=1) + new * since.var(axis=1)
    within *= (1 / new + 1 / rule.old) / (both - 2)
    size = np.sqrt(np.maximum(np.maximum(earlier, within), LEAST_NOISE**2))
    beyond = (since - level[:, None]) * np.sign(contrast)[:, None] > np.abs(contrast)[:, None] / 2
    agreeing = beyond.sum(axis=1) >= new - (new >= 7)  # of seven or more, one may be an outlier
    detected = valid & (count >= rule.learning) & agreeing
    score[last] = np.where(detected, np.abs(contrast) / size, 0.0)
    usual[last] = np.where(valid & (count >= rule.learning), size, 0.0)
    freedom[last] = np.maximum(count / new, 1)
    return _Contrasts(score, usual, freedom)


def _step(
    values: Floats,
    run: int,
    contrasts: _Contrasts,
    restarts: Sequence[int],
    known: Sequence[LevelStep],
    rule: LocalRule,
) -> LevelStep | None:
    """Return the step found at `run`, placed by least squares; None if it is too small."""
    begin = max(0, run + 1 - rule.old - max(rule.new), *(r for r in restarts if r <= run), 0)
    begin = max([begin, *(step.at + 1 for step in known)])
    runs = values[begin : run + 1]
    least = 3  # runs on each side
    if len(runs) < 2 * least:
        return None
    sizes = np.arange(least, len(runs) - least + 1)
    first = np.cumsum(runs)[sizes - 1]
    between = first**2 / sizes + (runs.sum() - first) ** 2 / (len(runs) - sizes)
    size = int(sizes[between.argmax()])
    shift = float(trimmed_mean(runs[size:]) - trimmed_mean(runs[:size]))
    if abs(np.expm1(shift)) < rule.smallest:
        return None
    reach = float(stats.t.ppf(0.975, contrasts.freedom[run]) * contrasts.usual[run])
    return LevelStep(begin + size, run, shift, shift - reach, shift + reach)


def trimmed_mean(runs: Floats) -> Floats:
    """Return the means along the last axis, without a fifth of the values at each end."""
    cut = runs.shape[-1] // 5
    means: Floats = np.sort(runs, axis=-1)[..., cut : runs.shape[-1] - cut].mean(axis=-1)
    return means


def _running_sum(values: NDArray[np.generic]) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values, dtype=float)])
