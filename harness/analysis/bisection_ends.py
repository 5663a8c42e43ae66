"""Tests whether GOOD and BAD of a bisection differ by more than builds of the same code.

Two builds of the same code take different times, because their code lies elsewhere in memory
(Mytkowicz, Diwan, Hauswirth and Sweeney, Producing wrong data without doing anything obviously
wrong, ASPLOS 2009). No number of boots averages that out, builds do. So GOOD and BAD are built
several times, each time with another layout, and what Student's t compares are the means of builds
(Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import special, stats

from harness.analysis.likelihood import BUILD_SPREAD

LEAST_BOOTS = 3  # of GOOD and of BAD, before anything is said
LEAST_LAYOUTS = 3  # builds of each whose means can be compared
POWER = 0.8  # with which `what_would_show` would show a difference


@dataclass(frozen=True)
class SearchBounds:
    """What the bisection promises, and what it may cost.

    `alpha`: chance to call a good commit bad, `beta`: a bad one good, anywhere on the way.
    `layouts`: builds of one commit, each with its code elsewhere; with 1 the difference of GOOD
    and BAD may be one of layout alone.
    """

    alpha: float = 0.05
    beta: float = 0.05
    most_boots: int = 20  # of one commit; then it is left undecided
    layouts: int = 8

    @property
    def alpha_of_look(self) -> float:
        """The p below which GOOD and BAD differ: each look at them is a chance to be wrong."""
        return self.alpha / max(1, self.most_boots - LEAST_BOOTS + 1)


@dataclass(frozen=True)
class TimedBoot:
    """One boot that passed. `layout`: which build of the commit it was of."""

    commit: int
    time_us: float
    layout: int = 0


@dataclass(frozen=True)
class EndsDifference:
    """BAD against GOOD, judged by their boots. `ratio`: BAD's time over GOOD's."""

    ratio: float
    spread: float  # standard deviation of log time between boots of one build
    p: float
    layout: float = 0.0  # standard deviation of log time between builds that should be alike
    builds: int = 1  # of GOOD and of BAD that were compared, whichever has fewer


def compare_ends(commits: int, boots: Sequence[TimedBoot]) -> EndsDifference | None:
    """Return GOOD against BAD by Student's t on log times; None with fewer than LEAST_BOOTS.

    Compared are means of builds, or boots where there is one build of each.
    """
    ends = [_by_build(boots, commit) for commit in (0, commits)]
    if min(sum(map(len, builds)) for builds in ends) < LEAST_BOOTS:
        return None
    builds = min(map(len, ends))
    single = all(len(of_end) == 1 for of_end in ends)
    good, bad = (of_end[0] if single else [fmean(build) for build in of_end] for of_end in ends)
    between, freedom = _pooled([good, bad])
    deviation = max(math.sqrt(between), BUILD_SPREAD)
    shift = fmean(bad) - fmean(good)
    t = abs(shift) / (deviation * math.sqrt(1 / len(good) + 1 / len(bad)))
    p = float(2 * special.stdtr(freedom, -t))
    spread, layout = deviation, 0.0
    each = [build for of_end in ends for build in of_end]
    within, repeated = _pooled(each)
    if not single and repeated:
        spread = max(math.sqrt(within), BUILD_SPREAD)
        boots_of_one = sum(map(len, each)) / len(each)
        layout = math.sqrt(max(0.0, between - within / boots_of_one))
    return EndsDifference(math.exp(shift), spread, p, layout, builds)


def _by_build(boots: Sequence[TimedBoot], commit: int) -> list[list[float]]:
    """Return the logarithms of a commit's times, a list for each of its builds."""
    found: dict[int, list[float]] = {}
    for boot in boots:
        if boot.commit == commit:
            found.setdefault(boot.layout, []).append(math.log(boot.time_us))
    return list(found.values())


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the variance within groups, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = 0.0
    for group in groups:
        mean = fmean(group)
        squares += sum((value - mean) ** 2 for value in group)
    return squares / max(freedom, 1), freedom


def next_end(commits: int, boots: Sequence[TimedBoot]) -> int:
    """Return GOOD or BAD, whichever has fewer boots; in the order ABBA, which cancels drift."""
    ends = [boot.commit for boot in boots if boot.commit in (0, commits)]
    counts = ends.count(0), ends.count(commits)
    if counts[0] == counts[1]:
        return ends[-1] if ends else 0
    return 0 if counts[0] < counts[1] else commits


def what_would_show(effect: EndsDifference, bounds: SearchBounds) -> tuple[int, int] | None:
    """Return how many boots of GOOD, and of BAD, in how many builds show what was seen.

    4 times in 5, if means and spreads are what they seem; None below what builds differ harmlessly.
    """
    shift = abs(math.log(effect.ratio))
    if shift < BUILD_SPREAD:
        return None
    variance = (shift / _quantiles(bounds)) ** 2 / 2  # that the mean of one end may have
    layouts = bounds.layouts
    if layouts > 1:
        layouts = max(layouts, math.ceil(2 * effect.layout**2 / variance))
        variance -= effect.layout**2 / layouts
    return max(LEAST_BOOTS, math.ceil(effect.spread**2 / variance)), layouts


def smallest_shown(effect: EndsDifference, bounds: SearchBounds) -> float:
    """Return the smallest difference, a share of the time, that `bounds` show 4 times in 5."""
    layout = effect.layout**2 / bounds.layouts if bounds.layouts > 1 else 0.0
    variance = 2 * (effect.spread**2 / bounds.most_boots + layout)
    return math.expm1(_quantiles(bounds) * math.sqrt(variance))


def _quantiles(bounds: SearchBounds) -> float:
    return float(stats.norm.isf(bounds.alpha_of_look / 2) + stats.norm.ppf(POWER))
