"""Where in a row of commits did the time change? Decides what to boot next, and when to stop.

Commits are numbered 0 (GOOD) to n (BAD); the first bad one is somewhere in 1..n. Everything
follows from the boots so far, so a bisection goes on from what is kept of it.

The model: the logarithm of a boot's time is normal around one of two means, that of the commits
before the first bad one or that of the rest, with one spread. Means and spread are integrated out
(flat and Jeffreys' priors), so that a spread known from few boots is not taken for certain:

    p(boots | first bad is k)  ~  (n_good n_bad)^(-1/2)  S_k^(-(n - 2) / 2)

n boots, S_k the sum of squares within the two groups that k makes (Gelman et al., Bayesian Data
Analysis, section 3.2). At each step boots of one commit are added until the ratio of these, "it is
bad" to "it is good", leaves Wald's bounds (Sequential Analysis, 1947), with the error bounds
divided by the number of steps. docs/bisect.md explains the choices and gives measured error rates.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_BOOTS = 3  # of GOOD and of BAD, before anything is said
BUILD_SPREAD = 0.002  # of log time: builds that differ harmlessly differ in layout, too
EFFECT_SHARE = 1 / 8  # of the effect: likewise, so that a value in the middle decides nothing


@dataclass(frozen=True)
class Bounds:
    """What the bisection promises, and what it may cost.

    `alpha`: chance to call a good commit bad, `beta`: a bad one good, anywhere on the way.
    """

    alpha: float = 0.05
    beta: float = 0.05
    most_boots: int = 20  # of one commit; then it is left undecided


@dataclass(frozen=True)
class Boot:
    """One boot that passed."""

    commit: int
    time_us: float


class Phase(StrEnum):
    """How far a bisection is."""

    COMPARING = "comparing GOOD and BAD"
    SEARCHING = "searching"
    FOUND = "found"
    NO_DIFFERENCE = "no difference between GOOD and BAD"


@dataclass(frozen=True)
class Effect:
    """BAD against GOOD, judged by their boots. `ratio`: BAD's time over GOOD's."""

    ratio: float
    spread: float  # standard deviation of log time between boots of one commit
    p: float


@dataclass(frozen=True)
class Step:
    """A commit that was tried. `bad` is None while, or because, the boots do not decide.

    `likelihood_ratio`: of "bad" to "good"; `place`: 0 where GOOD's mean is, 1 where BAD's is.
    """

    commit: int
    boots: int
    bad: bool | None
    likelihood_ratio: float
    place: float


@dataclass(frozen=True)
class State:
    """What the boots say. `next_commit`: to be booted next, None at the end.

    `last_good`, `first_bad`: the narrowest that is decided; the culprit is behind the one and not
    behind the other. `probabilities[k]`: that commit k is the first bad one (k = 0: never).
    """

    phase: Phase
    next_commit: int | None
    last_good: int
    first_bad: int
    probabilities: tuple[float, ...]
    effect: Effect | None = None
    steps: Mapping[int, Step] = field(default_factory=dict)

    @property
    def suspects(self) -> range:
        """The commits of which one is the first bad one."""
        return range(self.last_good + 1, self.first_bad + 1)


def step_count(commits: int) -> int:
    """Return how many commits a bisection of `commits` tries when none is skipped."""
    return max(1, math.ceil(math.log2(max(commits, 1))))


def decide(commits: int, boots: Sequence[Boot], skipped: Collection[int], bounds: Bounds) -> State:
    """Return what `boots`, in the order in which they came, say of the commits 1..`commits`.

    `skipped` commits cannot be tried: they do not build, boot or pass.
    """
    flat = (0.0, *[1 / commits] * commits)
    effect = compare_ends(commits, boots)
    ends = [sum(boot.commit == end for boot in boots) for end in (0, commits)]
    looks = max(1, bounds.most_boots - LEAST_BOOTS + 1)  # each is a chance to be wrong
    if effect is None or effect.p >= bounds.alpha / looks:
        if min(ends) < max(bounds.most_boots, LEAST_BOOTS):
            next_end = 0 if ends[0] <= ends[1] else commits
            return State(Phase.COMPARING, next_end, 0, commits, flat, effect)
        return State(Phase.NO_DIFFERENCE, None, 0, commits, flat, effect)
    order = np.array([boot.commit for boot in boots])
    logs = np.log([boot.time_us for boot in boots])
    steps, good, bad = _carry_out(commits, order, logs, effect, bounds)
    evidence = log_evidence(commits, order, logs, effect)
    probabilities = np.exp(evidence - special.logsumexp(evidence))
    unclear = {step.commit for step in steps.values() if step.boots >= bounds.most_boots}
    chosen = _next_commit(good, bad, steps, {*skipped, *unclear}, probabilities)
    phase = Phase.FOUND if chosen is None else Phase.SEARCHING
    return State(phase, chosen, good, bad, tuple(map(float, probabilities)), effect, steps)


def compare_ends(commits: int, boots: Sequence[Boot]) -> Effect | None:
    """Return GOOD against BAD by Student's t on log times; None with fewer than LEAST_BOOTS."""
    good = np.log([boot.time_us for boot in boots if boot.commit == 0])
    bad = np.log([boot.time_us for boot in boots if boot.commit == commits])
    if min(len(good), len(bad)) < LEAST_BOOTS:
        return None
    freedom = len(good) + len(bad) - 2
    within = ((good - good.mean()) ** 2).sum() + ((bad - bad.mean()) ** 2).sum()
    spread = max(math.sqrt(within / freedom), BUILD_SPREAD)
    shift = float(bad.mean() - good.mean())
    t = abs(shift) / (spread * math.sqrt(1 / len(good) + 1 / len(bad)))
    return Effect(math.exp(shift), spread, float(2 * stats.t.sf(t, freedom)))


def log_evidence(commits: int, order: Ints, logs: Floats, effect: Effect) -> Floats:
    """Return log p(boots | first bad is k) for k = 0..commits, up to a constant; k = 0 is -inf.

    `order`: the boots' commits, `logs`: the logarithms of their times. To each boot's square the
    variance is added that harmless differences between builds have.
    """
    logs = logs - logs.mean()  # squares of small numbers, not small differences of large squares
    size, total, square = (
        np.bincount(order, weights=weights, minlength=commits + 1)
        for weights in (np.ones_like(logs), logs, logs**2)
    )
    before, sum_before = np.cumsum(size)[:-1], np.cumsum(total)[:-1]  # k = 1..commits
    after, sum_after = size.sum() - before, total.sum() - sum_before
    within = square.sum() - sum_before**2 / before - sum_after**2 / after
    harmless = max(BUILD_SPREAD, EFFECT_SHARE * abs(math.log(effect.ratio)))
    within = np.maximum(within, 0.0) + len(logs) * harmless**2
    evidence = -0.5 * np.log(before * after) - (len(logs) - 2) / 2 * np.log(within)
    return np.concatenate([[-np.inf], evidence])


def _carry_out(
    commits: int, order: Ints, logs: Floats, effect: Effect, bounds: Bounds
) -> tuple[dict[int, Step], int, int]:
    """Go through the boots as they came; return the steps, the last good and the first bad commit.

    What was decided stays decided, as in any sequential test.
    """
    alpha, beta = (bound / step_count(commits) for bound in (bounds.alpha, bounds.beta))
    upper, lower = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    start = logs[order == 0].mean()
    steps: dict[int, Step] = {}
    good, bad = 0, commits
    for count, commit in enumerate(map(int, order), start=1):
        if not good < commit < bad:
            continue
        evidence = log_evidence(commits, order[:count], logs[:count], effect)
        ratio = _log_mean(evidence[good + 1 : commit + 1])
        ratio -= _log_mean(evidence[commit + 1 : bad + 1])
        is_bad = True if ratio >= upper else False if ratio <= lower else None
        own = logs[:count][order[:count] == commit]
        place = (own.mean() - start) / math.log(effect.ratio)
        held = math.exp(min(ratio, 700.0))  # what a float holds
        steps[commit] = Step(commit, len(own), is_bad, held, float(place))
        good = commit if is_bad is False else good
        bad = commit if is_bad else bad
    return steps, good, bad


def _log_mean(logs: Floats) -> float:
    return float(special.logsumexp(logs)) - math.log(len(logs))


def _next_commit(
    good: int,
    bad: int,
    steps: Mapping[int, Step],
    blocked: Collection[int],
    probabilities: Floats,
) -> int | None:
    """Return the commit between `good` and `bad` to boot next; None when there is none.

    A commit under test goes on. Else the one that tells most: the entropy of "good or bad", times
    a guess that it can be tried at all, which grows with the distance from those that cannot.
    """
    candidates = [commit for commit in range(good + 1, bad) if commit not in blocked]
    for commit in candidates:
        if commit in steps:
            return commit
    inside = probabilities[good + 1 : bad + 1]
    is_bad = np.cumsum(inside) / max(inside.sum(), np.finfo(float).tiny)

    def worth(commit: int) -> float:
        gap = min((abs(commit - other) for other in blocked), default=None)
        chance = 1.0 if gap is None else gap / (gap + 1)
        share = float(np.clip(is_bad[commit - good - 1], 0.0, 1.0))
        return float(special.entr(share) + special.entr(1 - share)) * chance

    return max(candidates, key=worth, default=None)


def plain_boots(commits: int, effect: Effect, bounds: Bounds) -> int:
    """Return how many boots plain bisection takes for the same bounds, GOOD's and BAD's aside.

    It boots each commit equally often and calls it what its mean is closer to; the means of GOOD
    and BAD and the spread are taken for known, which flatters it.
    """
    steps = step_count(commits)
    quantile = float(stats.norm.isf(min(bounds.alpha, bounds.beta) / steps))
    each = (2 * quantile * effect.spread / abs(math.log(effect.ratio))) ** 2
    return steps * max(1, math.ceil(each))
