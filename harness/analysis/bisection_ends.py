"""Tests whether GOOD and BAD of a bisection differ by more than builds of the same code.

Two builds of the same code take different times, as their code has different addresses (Mytkowicz,
Diwan, Hauswirth and Sweeney, Producing wrong data without doing anything obviously wrong, ASPLOS
2009). Boots do not average that out, but builds do. So GOOD and BAD are built several times with
different layouts, and Student's t test compares the means of builds (Kalibera and Jones, Rigorous
benchmarking in reasonable time, ISMM 2013).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import special, stats

from harness.analysis.likelihood import BUILD_SPREAD

LEAST_BOOTS = 3  # of GOOD and of BAD for a test
LEAST_LAYOUTS = 3  # builds of each for comparing means of builds
POWER = 0.8  # of the tests that `what_would_show` proposes


@dataclass(frozen=True)
class SearchBounds:
    """Error bounds and limits of a bisection.

    `alpha`, `beta`: probability that any good commit is called bad, or any bad one good.
    `layouts`: number of builds of a commit with different layouts; with 1 the difference between
    GOOD and BAD may be due to the layout only.
    """

    alpha: float = 0.05
    beta: float = 0.05
    most_boots: int = 20  # of a commit, after which it is undecided
    layouts: int = 8

    @property
    def alpha_of_look(self) -> float:
        """The p below which GOOD and BAD differ: `alpha` divided over the repeated tests."""
        return self.alpha / max(1, self.most_boots - LEAST_BOOTS + 1)


@dataclass(frozen=True)
class TimedBoot:
    """A boot that passed. `layout`: number of the commit's build."""

    commit: int
    time_us: float
    layout: int = 0


@dataclass(frozen=True)
class EndsDifference:
    """The comparison of BAD and GOOD. `ratio`: BAD's time divided by GOOD's."""

    ratio: float
    spread: float  # standard deviation of log time between boots of a build
    p: float
    layout: float = 0.0  # standard deviation of log time between builds of the same code
    builds: int = 1  # number of compared builds of GOOD or BAD, the smaller one


def compare_ends(commits: int, boots: Sequence[TimedBoot]) -> EndsDifference | None:
    """Compare GOOD and BAD by Student's t test on log times; None with fewer than LEAST_BOOTS.

    The test compares means of builds, or boots if there is only one build of each.
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
    """Return the logarithms of a commit's times, in a list per build."""
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
    """Return GOOD or BAD, the one with fewer boots, in the order ABBA, which cancels drift."""
    ends = [boot.commit for boot in boots if boot.commit in (0, commits)]
    counts = ends.count(0), ends.count(commits)
    if counts[0] == counts[1]:
        return ends[-1] if ends else 0
    return 0 if counts[0] < counts[1] else commits


def what_would_show(effect: EndsDifference, bounds: SearchBounds) -> tuple[int, int] | None:
    """Return how many boots of each of GOOD and BAD, in how many builds, would show the effect.

    With power 0.8, if the estimates are right; None if the effect is within the normal difference
    between builds.
    """
    shift = abs(math.log(effect.ratio))
    if shift < BUILD_SPREAD:
        return None
    variance = (shift / _quantiles(bounds)) ** 2 / 2  # allowed for the mean of one end
    layouts = bounds.layouts
    if layouts > 1:
        layouts = max(layouts, math.ceil(2 * effect.layout**2 / variance))
        variance -= effect.layout**2 / layouts
    return max(LEAST_BOOTS, math.ceil(effect.spread**2 / variance)), layouts


def smallest_shown(effect: EndsDifference, bounds: SearchBounds) -> float:
    """Return the smallest difference, as a share of the time, that is shown with power 0.8."""
    layout = effect.layout**2 / bounds.layouts if bounds.layouts > 1 else 0.0
    variance = 2 * (effect.spread**2 / bounds.most_boots + layout)
    return math.expm1(_quantiles(bounds) * math.sqrt(variance))


def _quantiles(bounds: SearchBounds) -> float:
    return float(stats.norm.isf(bounds.alpha_of_look / 2) + stats.norm.ppf(POWER))
