"""Finds the commit at which a time changed: decides what to boot next, and when to stop.

Commits are numbered from 0 (GOOD) to n (BAD); the first bad one is in 1..n. All decisions are
functions of the boots so far, so that a bisection can be resumed from its stored boots.

`harness.analysis.likelihood` computes the likelihood of the boots for each first bad commit. It
estimates the drift of the host from boots of GOOD and BAD between those of the steps (concurrent
controls), and accounts for the effect of each build's code layout. At each step boots of one commit
are added until the likelihood ratio of "bad" to "good" leaves Wald's bounds (Sequential Analysis,
1947), with the error bounds divided by the number of steps. If builds of the same code differ so
much that more boots of this build give no information, the commit is built again with another
layout, or if that is not possible, other commits are tried first. docs/howto/bisect.md explains
the choices and has measured error rates.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from scipy import special

from harness.analysis.bisection_ends import (
    LEAST_BOOTS,
    EndsDifference,
    SearchBounds,
    TimedBoot,
    compare_ends,
    next_end,
)
from harness.analysis.likelihood import Floats, Likelihood

CONTROL_GAP = 3  # boots of steps after which GOOD or BAD is booted
# Variance of the layout relative to that of a build's or commit's mean, above which ...
_ENOUGH = 1.0  # ... another build is more informative
_RESTS = 4.0  # ... other commits are tried first
_UNINFORMATIVE = 16.0  # ... more boots of the commit are useless


class Phase(StrEnum):
    """The state of progress of a bisection."""

    COMPARING = "comparing GOOD and BAD"
    SEARCHING = "searching"
    FOUND = "found"
    NO_DIFFERENCE = "no difference between GOOD and BAD"


@dataclass(frozen=True)
class CommitState:
    """A commit that was tried. `bad`: None if the boots do not decide (yet).

    `boots`: number in all of its `builds`; `likelihood_ratio`: of "bad" to "good"; `place`: of its
    mean on a scale from 0 (GOOD's mean) to 1 (BAD's).
    """

    commit: int
    boots: int
    builds: int
    bad: bool | None
    likelihood_ratio: float
    place: float = math.nan


@dataclass(frozen=True)
class SearchState:
    """The result of the boots so far.

    `next_commit`: to boot next, None at the end; `next_layout`: which of its builds, 0 for the one
    with unchanged layout. `last_good`, `first_bad`: the closest decided commits; the first bad one
    is after `last_good` and not after `first_bad`. `probabilities[k]`: that commit k is the first
    bad one (0 for k = 0).
    """

    phase: Phase
    next_commit: int | None
    last_good: int
    first_bad: int
    probabilities: tuple[float, ...]
    effect: EndsDifference | None = None
    steps: Mapping[int, CommitState] = field(default_factory=dict)
    next_layout: int = 0

    @property
    def suspects(self) -> range:
        """The commits that may be the first bad one."""
        return range(self.last_good + 1, self.first_bad + 1)


def step_count(commits: int) -> int:
    """Return how many commits a bisection of `commits` tries if none is skipped."""
    return max(1, math.ceil(math.log2(max(commits, 1))))


def decide(
    commits: int, boots: Sequence[TimedBoot], skipped: Collection[int], bounds: SearchBounds
) -> SearchState:
    """Return the state of a bisection of the commits 1..`commits` after `boots`, in run order.

    `skipped`: commits that do not build, boot or pass.
    """
    bisection = Bisection(commits, bounds)
    for boot in boots:
        bisection.add(boot)
    return bisection.state(skipped, places=True)


class Bisection:
    """A bisection of the commits 1..`commits`, updated boot by boot.

    Decisions are final, unless later boots raise their error probability above the bounds.
    """

    def __init__(self, commits: int, bounds: SearchBounds) -> None:
        self.boots: list[TimedBoot] = []
        self._commits, self._bounds = commits, bounds
        self._counts = Counter[int]()
        self._builds = defaultdict[int, Counter[int]](Counter)  # commit -> layout -> boots
        self._effect: EndsDifference | None = None
        self._likelihood: Likelihood | None = None  # None until GOOD and BAD are shown to differ
        self._good, self._bad = 0, commits
        self._steps: dict[int, CommitState] = {}

    def add(self, boot: TimedBoot) -> None:
        """Add a boot."""
        self.boots.append(boot)
        self._counts[boot.commit] += 1
        self._builds[boot.commit][boot.layout] += 1
        if self._likelihood is not None:
            self._likelihood.add(boot.commit, math.log(boot.time_us), boot.layout)
            self._test(self._likelihood)
            return
        self._effect = compare_ends(self._commits, self.boots)
        if self._effect is not None and self._effect.p < self._bounds.alpha_of_look:
            shift, spread = math.log(self._effect.ratio), self._effect.spread
            rebuilt = self._bounds.layouts > 1
            self._likelihood = Likelihood(self._commits, shift, spread, rebuilt=rebuilt)
            for earlier in self.boots:
                self._likelihood.add(earlier.commit, math.log(earlier.time_us), earlier.layout)

    def _test(self, likelihood: Likelihood) -> None:
        """Decide on commits, and revoke decisions that the new boots make doubtful.

        Any boot may affect other commits: one of GOOD or BAD shows the drift of the host, one of
        another commit how builds differ.
        """
        self._open_again(likelihood)
        upper, lower = _wald(self._bounds, step_count(self._commits))
        for commit in sorted(self._counts):
            if not self._good < commit < self._bad:
                continue
            odds = likelihood.odds(commit, self._good, self._bad)
            is_bad = True if odds >= upper else False if odds <= lower else None
            ratio = math.exp(min(odds, 700.0))  # avoid overflow
            boots, builds = self._counts[commit], len(self._builds[commit])
            self._steps[commit] = CommitState(commit, boots, builds, is_bad, ratio)
            self._good = commit if is_bad is False else self._good
            self._bad = commit if is_bad else self._bad
        for commit, step in self._steps.items():  # decided by the others
            if step.bad is None and not self._good < commit < self._bad:
                self._steps[commit] = replace(step, bad=commit >= self._bad)

    def _open_again(self, likelihood: Likelihood) -> None:
        """Revoke decisions that no longer meet the error bounds of the whole bisection.

        If builds turn out to differ, the boots of a step are less informative than assumed.
        """
        upper, lower = _wald(self._bounds, 1)
        while self._good:
            before = max(
                (c for c, step in self._steps.items() if step.bad is False and c < self._good),
                default=0,
            )
            if likelihood.odds(self._good, before, self._bad) < lower:
                break
            self._steps[self._good] = replace(self._steps[self._good], bad=None)
            self._good = before
        while self._bad < self._commits:
            after = min(
                (c for c, step in self._steps.items() if step.bad and c > self._bad),
                default=self._commits,
            )
            if likelihood.odds(self._bad, self._good, after) > upper:
                break
            self._steps[self._bad] = replace(self._steps[self._bad], bad=None)
            self._bad = after

    def state(self, skipped: Collection[int], *, places: bool = False) -> SearchState:
        """Return the state. `skipped`: commits that cannot be tried.

        `places`: also compute `CommitState.place`, which takes longer than everything else.
        """
        commits, likelihood, effect = self._commits, self._likelihood, self._effect
        if likelihood is None or effect is None:
            flat = (0.0, *[1 / commits] * commits)
            end = next_end(commits, self.boots)
            most = max(self._bounds.most_boots, LEAST_BOOTS)
            if self._counts[end] < most:
                layout = self._next_layout(end)
                return SearchState(
                    Phase.COMPARING, end, 0, commits, flat, effect, next_layout=layout
                )
            return SearchState(Phase.NO_DIFFERENCE, None, 0, commits, flat, effect)
        probabilities = np.exp(likelihood.logs - np.logaddexp.reduce(likelihood.logs))
        chosen = self._next_commit(skipped, probabilities)
        phase = Phase.FOUND if chosen is None else Phase.SEARCHING
        if chosen is not None and _wants_control(commits, self.boots, chosen):
            chosen = next_end(commits, self.boots)
        effect = replace(
            effect,
            ratio=math.exp(likelihood.shift),
            spread=likelihood.spread,
            layout=likelihood.layout,
            builds=min(len(self._builds[0]), len(self._builds[commits])),
        )
        found = tuple(map(float, probabilities))
        steps = dict(self._steps)
        for commit, step in steps.items() if places else ():
            steps[commit] = replace(step, place=_place(commits, commit, self.boots))
        layout = 0 if chosen is None else self._next_layout(chosen)
        return SearchState(phase, chosen, self._good, self._bad, found, effect, steps, layout)

    def _next_layout(self, commit: int) -> int:
        """Return which build of `commit` to boot next.

        While GOOD and BAD are compared, a new one, as long as more are allowed; later only if the
        means of the others have smaller errors than the difference between builds.
        """
        builds = self._builds[commit]
        if not builds:
            return 0
        fewest = min(builds, key=lambda layout: builds[layout])
        comparing = self._likelihood is None
        known = comparing or builds[fewest] * self._layout_share >= _ENOUGH
        return len(builds) if known and self._may_be_built_again(commit) else fewest

    def _may_be_built_again(self, commit: int) -> bool:
        return len(self._builds[commit]) < self._bounds.layouts

    @property
    def _layout_share(self) -> float:
        return self._likelihood.layout_share if self._likelihood else 0.0

    def _known(self, commit: int) -> float:
        """Return the variance of the layout relative to that of the commit's mean; 0 if more builds
        can reduce it.
        """
        if self._may_be_built_again(commit):
            return 0.0
        return self._counts[commit] * self._layout_share / len(self._builds[commit])

    def _next_commit(self, skipped: Collection[int], probabilities: Floats) -> int | None:
        """Return the suspect to boot next; None if there is none.

        It is the commit under test, until the error of its mean is so much smaller than the
        difference between builds that others are more informative; new ones come first.
        """
        inside = range(self._good + 1, self._bad)
        fresh = [commit for commit in inside if commit not in {*skipped, *self._steps}]
        worth_a_boot = {
            commit: known
            for commit in inside
            if commit in self._steps and commit not in skipped
            if self._steps[commit].boots < self._bounds.most_boots
            if (known := self._known(commit)) < _UNINFORMATIVE
        }
        under_test = [commit for commit, known in worth_a_boot.items() if known < _RESTS]
        if under_test:
            return max(under_test, key=lambda commit: self._steps[commit].boots)
        if fresh:
            suspects = range(self._good + 1, self._bad + 1)
            return _most_informative(fresh, suspects, probabilities, skipped)
        return min(worth_a_boot, key=lambda commit: self._steps[commit].boots, default=None)


def _wald(bounds: SearchBounds, steps: int) -> tuple[float, float]:
    """Return the log likelihood ratios above which a commit is bad and below which it is good."""
    alpha, beta = bounds.alpha / steps, bounds.beta / steps
    return math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))


def _wants_control(commits: int, boots: Sequence[TimedBoot], chosen: int) -> bool:
    """Return whether to boot GOOD or BAD before `chosen`: if that was booted last and is undecided,
    or after `CONTROL_GAP` boots without one.
    """
    recent = [boot.commit in (0, commits) for boot in boots[-CONTROL_GAP:]]
    return boots[-1].commit == chosen or not any(recent)


def _place(commits: int, commit: int, boots: Sequence[TimedBoot]) -> float:
    """Return the commit's place between GOOD (0) and BAD (1), by least squares with a trend."""
    columns = [[1.0, b.commit == commits, b.commit == commit, n] for n, b in enumerate(boots)]
    kept = [n for n, boot in enumerate(boots) if boot.commit in (0, commit, commits)]
    logs = np.log([boot.time_us for boot in boots])
    found = np.linalg.lstsq(np.array(columns)[kept], logs[kept])[0]
    return float(found[2] / found[1]) if found[1] else math.nan


def _most_informative(
    fresh: Sequence[int], suspects: range, probabilities: Floats, skipped: Collection[int]
) -> int:
    """Return the most informative of the commits `fresh`.

    The measure is the entropy of "good or bad", times an estimated probability that the commit
    works, which grows with the distance from skipped ones.
    """
    inside = probabilities[suspects.start : suspects.stop]
    is_bad = np.cumsum(inside) / max(inside.sum(), np.finfo(float).tiny)

    def worth(commit: int) -> float:
        gap = min((abs(commit - other) for other in skipped), default=None)
        chance = 1.0 if gap is None else gap / (gap + 1)
        share = float(np.clip(is_bad[commit - suspects.start], 0.0, 1.0))
        return float(special.entr(share) + special.entr(1 - share)) * chance

    return max(fresh, key=worth)
