"""Where in a row of commits did the time change? Decides what to boot next, and when to stop.

Commits are numbered 0 (GOOD) to n (BAD); the first bad one is somewhere in 1..n. Everything
follows from the boots so far, so a bisection goes on from what is kept of it.

The model: the logarithm of a boot's time is a level, plus the effect where the commit is a bad one,
plus what the commit's code layout does, plus what the host does at that time, plus noise:

    y_i = level + effect [commit_i >= k] + layout_commit + walk_i + noise_i

`walk` is a random walk over the boots in their order, so drift, warming up and whatever else lasts
over several boots is followed from the boots whose class is known: GOOD and BAD are booted between
those of the steps (concurrent controls). Level, effect and noise are integrated out (flat and
Jeffreys' priors), sizes of the walk summed over; what is left is p(boots | first bad is k)
(Rasmussen and Williams, Gaussian Processes, section 2.7). At each step boots of one commit are
added until the ratio of these, "it is bad" to "it is good", leaves Wald's bounds (Sequential
Analysis, 1947), with the error bounds divided by the number of steps. docs/bisect.md explains the
choices and gives measured error rates.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

LEAST_BOOTS = 3  # of GOOD and of BAD, before anything is said
BUILD_SPREAD = 0.002  # of log time: builds that differ harmlessly differ in layout, too
CONTROL_GAP = 3  # boots of steps after which GOOD or BAD is booted in any case
EFFECT_SHARE = 1 / 8  # of the effect: likewise, so that a value in the middle decides nothing
POWER = 0.8  # with which `boots_to_show` would show a difference
_WALK = np.array([0.0, 0.03, 0.3, 1.0])  # variance a boot, in those of the noise
_WALK_PRIOR = np.array([0.7, 0.1, 0.1, 0.1])  # mostly there is none


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
    begin, effect = _told_apart(commits, boots, bounds)
    if begin is None or effect is None:
        end = _next_end(commits, boots)
        most = max(bounds.most_boots, LEAST_BOOTS)
        if sum(boot.commit == end for boot in boots) < most:
            return State(Phase.COMPARING, end, 0, commits, flat, effect)
        return State(Phase.NO_DIFFERENCE, None, 0, commits, flat, effect)
    evidence = weigh(commits, boots, effect)
    steps, good, bad = _carry_out(commits, boots, begin, evidence, bounds)
    unclear = {step.commit for step in steps.values() if step.boots >= bounds.most_boots}
    blocked = {*skipped, *unclear}
    chosen = _next_commit(good, bad, steps, blocked, evidence.probabilities)
    phase = Phase.FOUND if chosen is None else Phase.SEARCHING
    if chosen is not None and _wants_control(commits, boots, chosen):
        chosen = _next_end(commits, boots)
    effect = replace(effect, ratio=math.exp(evidence.shift[-1]), spread=float(evidence.spread[-1]))
    probabilities = tuple(map(float, evidence.probabilities))
    return State(phase, chosen, good, bad, probabilities, effect, steps)


def _told_apart(
    commits: int, boots: Sequence[Boot], bounds: Bounds
) -> tuple[int | None, Effect | None]:
    """Return after how many boots GOOD and BAD were told apart, and what they had shown by then.

    Where they are not yet, None and what they show so far. Once told apart they stay so.
    """
    effect = None
    for count in range(2 * LEAST_BOOTS, len(boots) + 1):
        effect = compare_ends(commits, boots[:count])
        if effect is not None and effect.p < _alpha_of_look(bounds):
            return count, effect
    return None, effect


def _alpha_of_look(bounds: Bounds) -> float:
    """Return p below which GOOD and BAD differ: each look at them is a chance to be wrong."""
    return bounds.alpha / max(1, bounds.most_boots - LEAST_BOOTS + 1)


def boots_to_show(effect: Effect, bounds: Bounds) -> int | None:
    """Return how many boots of GOOD, and of BAD, show a difference as large as the one seen.

    4 times in 5, if means and spread are what they seem; None below what builds differ harmlessly.
    """
    shift = abs(math.log(effect.ratio))
    if shift < BUILD_SPREAD:
        return None
    return max(LEAST_BOOTS, math.ceil(2 * (_quantiles(bounds) * effect.spread / shift) ** 2))


def smallest_shown(effect: Effect, bounds: Bounds) -> float:
    """Return the smallest difference, a share of the time, that `most_boots` show 4 times in 5."""
    return math.expm1(_quantiles(bounds) * effect.spread * math.sqrt(2 / bounds.most_boots))


def _quantiles(bounds: Bounds) -> float:
    return float(stats.norm.isf(_alpha_of_look(bounds) / 2) + stats.norm.ppf(POWER))


def _next_end(commits: int, boots: Sequence[Boot]) -> int:
    """Return GOOD or BAD, whichever has fewer boots; in the order ABBA, which cancels drift."""
    ends = [boot.commit for boot in boots if boot.commit in (0, commits)]
    counts = ends.count(0), ends.count(commits)
    if counts[0] == counts[1]:
        return ends[-1] if ends else 0
    return 0 if counts[0] < counts[1] else commits


def _wants_control(commits: int, boots: Sequence[Boot], chosen: int) -> bool:
    """Return whether GOOD or BAD comes before `chosen`: where that was booted just now and is in
    doubt, and after `CONTROL_GAP` boots without one.
    """
    recent = [boot.commit in (0, commits) for boot in boots[-CONTROL_GAP:]]
    return boots[-1].commit == chosen or not any(recent)


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
    return Effect(math.exp(shift), spread, float(2 * special.stdtr(freedom, -t)))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the boots say, after each of them: row n of an array is after n + 1 boots.

    `logs[n, k]`: log p(boots | first bad is k), up to a constant; k = 0: -inf. `shift[n]`,
    `spread[n]`: the effect and the noise between boots, logarithms, averaged over all k.
    """

    logs: Floats
    shift: Floats
    spread: Floats

    def odds(self, count: int, commit: int, good: int, bad: int) -> float:
        """Return log p(boots | `commit` is bad) / p(boots | it is good), after `count` boots."""
        logs = self.logs[count - 1]
        return _log_mean(logs[good + 1 : commit + 1]) - _log_mean(logs[commit + 1 : bad + 1])

    @property
    def probabilities(self) -> Floats:
        """Of each k to be the first bad one, after all boots."""
        found: Floats = np.exp(self.logs[-1] - special.logsumexp(self.logs[-1]))
        return found


def weigh(commits: int, boots: Sequence[Boot], effect: Effect) -> Evidence:
    """Return what `boots`, in their order, say of each k. `effect`: what GOOD and BAD showed first.

    Least squares on columns that a triangular matrix has made independent; as that of the first n
    boots is a corner of it, sums over the first n rows are all that it takes.
    """
    order = np.array([boot.commit for boot in boots])
    logs = np.log([boot.time_us for boot in boots])
    tried = np.unique(order)[1:]  # all k between two of them are alike
    harmless = max(BUILD_SPREAD, EFFECT_SHARE * abs(math.log(effect.ratio)))
    factors = np.linalg.cholesky(_correlations(len(boots)))
    columns = np.column_stack([np.ones_like(logs), logs - logs[0], order[:, None] >= tried])
    white = np.linalg.solve(factors, columns[None])
    one, y, x = white[:, :, :1], white[:, :, 1:2], white[:, :, 2:]
    s11, s1y, syy, s1x, sxx, sxy = (
        np.cumsum(product, axis=1) for product in (one * one, one * y, y * y, one * x, x * x, x * y)
    )
    determinant = s11 * sxx - s1x**2
    known = determinant > 1e-9 * s11  # else no boot of one of the two classes yet
    determinant = np.where(known, determinant, 1.0)
    shift = np.where(known, (s11 * sxy - s1x * s1y) / determinant, 0.0)
    rest = np.maximum(syy - s1y**2 / s11 - shift * (sxy - s1x * s1y / s11), 0.0)
    count = np.arange(1, len(boots) + 1)[:, None]
    spread = np.sqrt(rest / np.maximum(count - 2, 1))
    rest = rest + count * harmless**2  # builds differ, too
    volume = 2 * np.cumsum(np.log(np.einsum("gii->gi", factors)), axis=1)[:, :, None]
    found = -0.5 * (volume + np.log(determinant) + (count - 2) * np.log(rest))
    found += np.log(_WALK_PRIOR)[:, None, None]
    weights = np.exp(found - np.logaddexp.reduce(found, axis=(0, 2), keepdims=True))
    of_k = np.logaddexp.reduce(found, axis=0)[:, np.searchsorted(tried, np.arange(1, commits + 1))]
    return Evidence(
        np.column_stack([np.full(len(boots), -np.inf), of_k]),
        (weights * shift).sum(axis=(0, 2)),
        (weights * spread).sum(axis=(0, 2)),
    )


def _correlations(boots: int) -> Floats:
    """Return the covariance of the boots, in variances of the noise, for each size of the walk."""
    count = np.arange(1, boots + 1)
    found: Floats = np.eye(boots) + _WALK[:, None, None] * np.minimum(count[:, None], count)
    return found


def _carry_out(
    commits: int, boots: Sequence[Boot], begin: int, evidence: Evidence, bounds: Bounds
) -> tuple[dict[int, Step], int, int]:
    """Go through the boots as they came; return the steps, the last good and the first bad commit.

    `begin`: boots until GOOD and BAD were told apart. What was decided stays decided, as in any
    sequential test.
    """
    alpha, beta = (bound / step_count(commits) for bound in (bounds.alpha, bounds.beta))
    upper, lower = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    found: dict[int, tuple[int, bool | None, float]] = {}
    good, bad, commit = 0, commits, 0
    for count in range(begin + 1, len(boots) + 1):
        latest = boots[count - 1].commit
        commit = commit if latest in (0, commits) else latest
        if not good < commit < bad:
            continue
        odds = evidence.odds(count, commit, good, bad)
        is_bad = True if odds >= upper else False if odds <= lower else None
        found[commit] = count, is_bad, math.exp(min(odds, 700.0))  # what a float holds
        good = commit if is_bad is False else good
        bad = commit if is_bad else bad
    steps = {}
    for commit, (count, is_bad, ratio) in found.items():
        own = sum(boot.commit == commit for boot in boots[:count])
        place = _place(commits, commit, boots[:count])
        steps[commit] = Step(commit, own, is_bad, ratio, place)
    return steps, good, bad


def _place(commits: int, commit: int, boots: Sequence[Boot]) -> float:
    """Return where a commit lies between GOOD (0) and BAD (1), by least squares with a trend."""
    columns = [[1.0, b.commit == commits, b.commit == commit, n] for n, b in enumerate(boots)]
    kept = [n for n, boot in enumerate(boots) if boot.commit in (0, commit, commits)]
    logs = np.log([boot.time_us for boot in boots])
    found = np.linalg.lstsq(np.array(columns)[kept], logs[kept])[0]
    return float(found[2] / found[1]) if found[1] else math.nan


def _log_mean(logs: Floats) -> float:
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))


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
