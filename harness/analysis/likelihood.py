"""The likelihood of the boots of a bisection for each commit as the first bad one.

The logarithm of a boot's time is a level, plus the effect where its commit is a bad one, plus what
the layout of that build does, plus what the host does at that time, plus noise:

    y_i = level + effect [commit_i >= k] + layout_build + walk_i + noise_i

`layout` differs from build to build and is the same in all boots of one, so no number of boots
averages it out; how much builds differ follows from those of one commit, and of commits that must
be alike. `walk`
is a random walk over the boots in their order: drift, warming up, whatever lasts over several
boots. Level, effect and noise are integrated out (flat and Jeffreys' priors), sizes of walk and
layout summed over; what is left is p(boots | first bad is k) (Rasmussen and Williams, Gaussian
Processes, section 2.7).
"""

import math
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BUILD_SPREAD = 0.002  # of log time: builds that differ harmlessly differ in layout, too
EFFECT_SHARE = 1 / 8  # of the effect: likewise, so that a value in the middle decides nothing
_WALK = np.array([0.0, 0.03, 0.3, 1.0])  # variance a boot, in those of the noise
_WALK_PRIOR = np.array([0.7, 0.1, 0.1, 0.1])  # mostly there is none
_LAYOUT = np.array([0.0, 0.15, 0.3, 0.5])  # standard deviation between builds, in effects
_LAYOUT_PRIOR = np.array([0.95, 0.025, 0.015, 0.01])  # mostly next to none
_REBUILT_PRIOR = np.array([0.4, 0.2, 0.2, 0.2])  # where several builds of a commit show it
_ROOM = 64  # boots for which there is room at first


class Likelihood:
    """p(boots | first bad is k), kept up to date boot by boot.

    `shift`, `spread`: the logarithm of BAD's time over GOOD's, and the standard deviation between
    boots of one commit, as GOOD and BAD showed them first. They say what sizes of layout are
    thought of; everything else follows from the boots. `rebuilt`: commits have several builds.

    Least squares on columns that a triangular matrix has made independent; a boot more is a row
    more of its inverse and a summand more of each sum.
    """

    def __init__(self, commits: int, shift: float, spread: float, *, rebuilt: bool) -> None:
        self._commits = commits
        self._harmless = max(BUILD_SPREAD, EFFECT_SHARE * abs(shift))
        noise = math.hypot(spread, self._harmless)
        walk, layout = np.meshgrid(_WALK, (_LAYOUT * shift / noise) ** 2, indexing="ij")
        self._walk, self._layout = walk.ravel(), layout.ravel()
        self._layout_sizes = np.tile(_LAYOUT * abs(shift), len(_WALK))
        layout_prior = _REBUILT_PRIOR if rebuilt else _LAYOUT_PRIOR
        self._prior = np.log(np.outer(_WALK_PRIOR, layout_prior)).ravel()
        sizes = len(self._prior)
        self._inverse = np.zeros((sizes, _ROOM, _ROOM))  # of the triangular factors
        self._order: list[int] = []
        self._builds: list[tuple[int, int]] = []
        self._times: list[float] = []
        self._tried: list[int] = []  # all k between two of them are alike
        self._volume, self._s11, self._s1y, self._syy = np.zeros((4, sizes, 1))
        self._s1x, self._sxx, self._sxy = np.zeros((3, sizes, 0))
        self.logs = np.full(commits + 1, 0.0)
        """log p(boots | first bad is k), up to a constant; -inf for k = 0."""
        self.shift = self.spread = self.layout = 0.0
        """The effect, the noise and the layout, logarithms, averaged over all k."""

    def odds(self, commit: int, good: int, bad: int) -> float:
        """Return log p(boots | `commit` is bad) / p(boots | it is good).

        `good`, `bad`: commits that are taken to be so, on both sides of it.
        """
        return _log_mean(self.logs[good + 1 : commit + 1]) - _log_mean(
            self.logs[commit + 1 : bad + 1]
        )

    @property
    def layout_share(self) -> float:
        """The variance between builds, in those that noise gives one boot."""
        return self.layout**2 / (self.spread**2 + self._harmless**2)

    def add(self, commit: int, log_time: float, layout: int = 0) -> None:
        """Take one more boot into account, of that build of the commit."""
        self._order.append(commit)
        self._builds.append((commit, layout))
        self._times.append(log_time)
        if commit and commit not in self._tried:
            self._try(commit)
        order = np.array(self._order)
        row = self._next_row([build == self._builds[-1] for build in self._builds])
        one, y = row.sum(axis=1)[:, None], (row @ (np.array(self._times) - self._times[0]))[:, None]
        x = row @ (order[:, None] >= np.array(self._tried, dtype=int))
        self._s11 += one * one
        self._s1y += one * y
        self._syy += y * y
        self._s1x += one * x
        self._sxx += x * x
        self._sxy += x * y
        if self._tried:
            self._sum_up(len(order))

    def _try(self, commit: int) -> None:
        """Begin a column for a commit: so far it is that of the next one that was tried."""
        place = bisect_left(self._tried, commit)
        self._tried.insert(place, commit)
        last = place == self._s1x.shape[1]
        for name in ("_s1x", "_sxx", "_sxy"):
            sums = getattr(self, name)
            column = np.zeros(len(sums)) if last else sums[:, place]
            setattr(self, name, np.insert(sums, place, column, axis=1))

    def _next_row(self, same_build: list[bool]) -> Floats:
        """Return the next row of the inverse of each triangular factor of the covariance."""
        count = len(same_build)
        if count > self._inverse.shape[1]:
            room = self._inverse.shape[1]
            self._inverse = np.pad(self._inverse, ((0, 0), (0, room), (0, room)))
        known = self._inverse[:, : count - 1, : count - 1]
        shared = np.outer(self._walk, np.arange(1, count + 1))
        shared += np.outer(self._layout, same_build)
        factor = (known @ shared[:, :-1, None])[:, :, 0]
        rest = np.sqrt(1 + shared[:, -1] - (factor**2).sum(axis=1))[:, None]
        row = self._inverse[:, count - 1, :count]
        row[:, :-1] = -(factor[:, None] @ known)[:, 0] / rest
        row[:, -1:] = 1 / rest
        self._volume += 2 * np.log(rest)
        return row

    def _sum_up(self, count: int) -> None:
        s11, s1y = self._s11, self._s1y
        determinant = s11 * self._sxx - self._s1x**2
        known = determinant > 1e-9 * s11  # else no boot of one of the two classes yet
        determinant = np.where(known, determinant, 1.0)
        shift = np.where(known, (s11 * self._sxy - s1y * self._s1x) / determinant, 0.0)
        rest = self._syy - s1y**2 / s11 - shift * (self._sxy - self._s1x * s1y / s11)
        rest = np.maximum(rest, 0.0)
        spread = np.sqrt(rest / max(count - 2, 1))
        rest = rest + count * self._harmless**2  # with few boots noise is not taken for certain
        found = -0.5 * (self._volume + np.log(determinant) + (count - 2) * np.log(rest))
        found += self._prior[:, None]
        top = found.max()
        weights = np.exp(found - top)
        of_tried = np.log(np.maximum(weights.sum(axis=0), 1e-300)) + top
        weights /= weights.sum()
        self.shift = float((weights * shift).sum())
        self.spread = float((weights * spread).sum())
        self.layout = math.sqrt(float(weights.sum(axis=1) @ self._layout_sizes**2))
        places = np.searchsorted(self._tried, np.arange(1, self._commits + 1))
        self.logs = np.concatenate([[-np.inf], of_tried[np.minimum(places, len(of_tried) - 1)]])


def _log_mean(logs: Floats) -> float:
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))
