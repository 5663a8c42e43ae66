"""Computes the likelihood of the boots of a bisection for each commit as the first bad one.

The logarithm of a boot's time is modelled as a level, plus the effect if its commit is bad, plus
terms for the layout of the build and the drift of the host, plus noise:

    y_i = level + effect [commit_i >= k] + layout_build + walk_i + noise_i

`layout` differs between builds and is the same in all boots of a build, so that boots do not
average it out; its size is estimated from several builds of a commit and from commits that must be
equal. `walk` is a random walk over the boots in run order, for drift, warm-up and the like. Level,
effect and noise are integrated out (flat and Jeffreys' priors), and the sizes of walk and layout
summed over, which gives p(boots | first bad is k) (Rasmussen and Williams, Gaussian Processes,
section 2.7).
"""

import math
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BUILD_SPREAD = 0.002  # minimum standard deviation of log time between builds of equal code
EFFECT_SHARE = 1 / 8  # and minimum relative to the effect, so that values in the middle are unclear
_WALK = np.array([0.0, 0.03, 0.3, 1.0])  # variance per boot, relative to that of the noise
_WALK_PRIOR = np.array([0.7, 0.1, 0.1, 0.1])
_LAYOUT = np.array([0.0, 0.15, 0.3, 0.5])  # standard deviation between builds, relative to effect
_LAYOUT_PRIOR = np.array([0.95, 0.025, 0.015, 0.01])
_REBUILT_PRIOR = np.array([0.4, 0.2, 0.2, 0.2])  # if commits have several builds, which show it
_ROOM = 64  # initial capacity in boots


class Likelihood:
    """p(boots | first bad is k), updated boot by boot.

    `shift`, `spread`: logarithm of BAD's time over GOOD's, and standard deviation between boots of
    a commit, as estimated from the first boots of GOOD and BAD; they set the scale of the prior of
    the layout. `rebuilt`: whether commits have several builds.

    Generalised least squares with triangular factors of the covariance; a new boot adds a row to
    their inverse and a term to each sum.
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
        self._inverse = np.zeros((sizes, _ROOM, _ROOM))  # inverses of the triangular factors
        self._order: list[int] = []
        self._builds: list[tuple[int, int]] = []
        self._times: list[float] = []
        self._tried: list[int] = []  # all k between two of them have equal likelihoods
        self._volume, self._s11, self._s1y, self._syy = np.zeros((4, sizes, 1))
        self._s1x, self._sxx, self._sxy = np.zeros((3, sizes, 0))
        self.logs = np.full(commits + 1, 0.0)
        """log p(boots | first bad is k) up to a constant, indexed by k; -inf for k = 0."""
        self.shift = self.spread = self.layout = 0.0
        """Estimates of effect, noise and layout in log time, averaged over all k."""

    def odds(self, commit: int, good: int, bad: int) -> float:
        """Return log(p(boots | `commit` is bad) / p(boots | `commit` is good)).

        `good`, `bad`: commits before and after it that are assumed to be so.
        """
        return _log_mean(self.logs[good + 1 : commit + 1]) - _log_mean(
            self.logs[commit + 1 : bad + 1]
        )

    @property
    def layout_share(self) -> float:
        """The variance between builds, relative to that of the noise of a boot."""
        return self.layout**2 / (self.spread**2 + self._harmless**2)

    def add(self, commit: int, log_time: float, layout: int = 0) -> None:
        """Add a boot of the commit's build `layout`. `log_time`: logarithm of its time."""
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
        """Add a column for a commit, initially equal to that of the next one that was tried."""
        place = bisect_left(self._tried, commit)
        self._tried.insert(place, commit)
        last = place == self._s1x.shape[1]
        for name in ("_s1x", "_sxx", "_sxy"):
            sums = getattr(self, name)
            column = np.zeros(len(sums)) if last else sums[:, place]
            setattr(self, name, np.insert(sums, place, column, axis=1))

    def _next_row(self, same_build: list[bool]) -> Floats:
        """Return the next row of the inverse of each triangular factor."""
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
        known = determinant > 1e-9 * s11  # else one of the two classes has no boots yet
        determinant = np.where(known, determinant, 1.0)
        shift = np.where(known, (s11 * self._sxy - s1y * self._s1x) / determinant, 0.0)
        rest = self._syy - s1y**2 / s11 - shift * (self._sxy - self._s1x * s1y / s11)
        rest = np.maximum(rest, 0.0)
        spread = np.sqrt(rest / max(count - 2, 1))
        rest = rest + count * self._harmless**2  # allows for the error of the noise with few boots
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
