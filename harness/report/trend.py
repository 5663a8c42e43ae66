"""Computes the trend lines of the index page: a chart with links to runs for each series.

A template draws them instead of the chart library, so that every point can be a link with its own
tooltip without JavaScript.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from harness.analysis.changepoints import Kind, LevelChange, Track
from harness.analysis.wording import change, series_name, short_case, threads_text
from harness.report.environment import duration

WIDTH, HEIGHT = 860, 168
LEFT, RIGHT, TOP, BOTTOM = 76, 14, 12, 26
_DRAWN = 60  # maximum number of charts; those with changes come first
_RUNS = 180  # newest runs in a chart, so that the page is smaller than 2 MB


@dataclass(frozen=True)
class TrendPoint:
    """A run in a chart. `state`: empty, `outlier`, or the direction of a change that begins here.

    `linked`: whether the run has a page.
    """

    x: float
    y: float
    run_id: str
    text: str
    state: str
    linked: bool


@dataclass(frozen=True)
class Mark:
    """A vertical line with a text, for changed conditions or missing runs."""

    x: float
    text: str


@dataclass(frozen=True)
class Tick:
    """A tick of an axis. `at`: its position in pixels."""

    at: float
    text: str


@dataclass(frozen=True)
class Trend:
    """A chart. `lines`: coordinates of polylines, interrupted where levels are not compared.

    `levels`: horizontal lines (x, x, y); `sentence`: text alternative.
    """

    name: str
    title: str
    host: str
    case: str
    sentence: str
    points: Sequence[TrendPoint]
    lines: Sequence[str]
    levels: Sequence[tuple[float, float, float]]
    marks: Sequence[Mark]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    changes: Sequence[LevelChange]


@dataclass(frozen=True)
class Trends:
    """The trends on the index page. `left_out`: number of series that are not drawn."""

    drawn: Sequence[Trend] = ()
    left_out: int = 0

    @property
    def hosts(self) -> list[str]:
        """The names of hosts, for the filter."""
        return sorted({trend.host for trend in self.drawn})

    @property
    def cases(self) -> list[str]:
        """The names of cases, for the filter."""
        return sorted({trend.case for trend in self.drawn})

    @property
    def changes(self) -> list[tuple[Trend, LevelChange]]:
        """All changes in the drawn charts, newest first."""
        pairs = [(trend, change) for trend in self.drawn for change in trend.changes]
        return sorted(pairs, key=lambda pair: pair[1].at, reverse=True)


def layout_trends(tracks: Iterable[Track], linked: Callable[[str], bool]) -> Trends:
    """Return the charts of all series with two or more runs.

    `linked`: returns whether a run, by id, has a page.
    """
    several = [track for track in tracks if len(track.runs) > 1]
    several.sort(key=lambda track: track.series)
    several.sort(key=lambda track: max((c.at for c in track.changes), default=""), reverse=True)
    drawn = [_trend(n, track, linked) for n, track in enumerate(several[:_DRAWN])]
    return Trends(drawn, len(several) - len(drawn))


def _trend(number: int, track: Track, linked: Callable[[str], bool]) -> Trend:
    runs = track.runs.iloc[-_RUNS:].reset_index(drop=True)
    odd = {remark.run_id for remark in track.remarks if remark.kind is Kind.OUTLIER}
    begun = {change.at_run: change for change in track.changes}
    values = track.followed.iloc[-_RUNS:].reset_index(drop=True)
    tell = duration if not track.series.baseline else _share_text
    usual = values[~runs["run_id"].isin(odd)]
    y_of, y_ticks = _y_axis(usual if len(usual) else values, tell)
    times = pd.to_datetime(runs["started_at"], format="ISO8601", utc=True)
    x_of, x_ticks = _x_axis(list(times))
    points = [
        TrendPoint(
            x=x_of(when),
            y=y_of(value),
            run_id=run,
            text=_point_text(when, tell(value), boots, begun.get(run)),
            state=str(begun[run].direction) if run in begun else "outlier" if run in odd else "",
            linked=linked(run),
        )
        for when, value, boots, run in zip(
            times, values, runs["boots"], runs["run_id"], strict=True
        )
    ]
    breaks = track.breaks | {r.run_id for r in track.remarks if r.kind is Kind.GAP}
    of_run = {point.run_id: point for point in points}
    remarks = [r for r in track.remarks if r.kind is not Kind.OUTLIER and r.run_id in of_run]
    marks = [Mark(of_run[r.run_id].x, f"{r.kind}: {r.text}") for r in remarks]
    series = track.series
    sizes = f"{series.cpus} CPUs, {threads_text(series.nr_threads)}"
    sizes += f"; time over that of {series.baseline}, same run" if series.baseline else ""
    return Trend(
        name=f"trend-{number}",
        title=f"{short_case(series.case)}: {series.line}, {series_name(series.workload)}, {sizes}",
        host=series.host,
        case=series.case,
        sentence=_sentence(track),
        points=points,
        lines=list(_lines([point for point in points if point.state != "outlier"], breaks)),
        levels=list(_levels(points, values, {*begun, *breaks}, y_of)),
        marks=marks,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        changes=[change for change in track.changes if change.at_run in of_run],
    )


def change_text(change: LevelChange) -> str:
    """Return a change as "5.1 % slower (95 % interval 4.0 to 6.2 %)"."""
    ends = sorted((abs(change.low_percent), abs(change.high_percent)))
    size = f"{abs(change.size_percent):.1f} % {change.direction}"
    return f"{size} (95 % interval {ends[0]:.1f} to {ends[1]:.1f} %)"


def _sentence(track: Track) -> str:
    """Return the chart's text alternative."""
    runs, changes = track.runs, track.changes
    dates = [str(runs["started_at"].iloc[n])[:10] for n in (0, -1)]
    counted = f"{len(runs)} runs from {dates[0]} to {dates[1]}"
    found = "; ".join(f"{change.at[:10]} {change_text(change)}" for change in changes)
    return f"{counted}: {found or 'no change of level'}.{_limits(track)}"


def _limits(track: Track) -> str:
    """Return the limits of detection for a series without a baseline."""
    if track.series.baseline:
        return ""
    if track.detectable_change is None:
        return (
            " Without a baseline in the same run no change is detected yet: there are too few runs."
        )
    size = change(track.detectable_change)
    return f" Without a baseline in the same run only changes of {size} are detected."


def _share_text(share: float) -> str:
    return f"{share:.3f}"


def _point_text(when: datetime, value: str, boots: int, change: LevelChange | None) -> str:
    since = f"; {change_text(change)} from here" if change else ""
    boots_text = f"{boots} boot{'' if boots == 1 else 's'}"
    return f"{when:%Y-%m-%d %H:%M}: {value}, {boots_text}{since}"


def _lines(points: Sequence[TrendPoint], breaks: set[str]) -> Iterator[str]:
    """Yield the coordinates of each segment between breaks."""
    stretch: list[TrendPoint] = []
    for point in points:
        if point.run_id in breaks and stretch:
            yield _coordinates(stretch)
            stretch = []
        stretch.append(point)
    if stretch:
        yield _coordinates(stretch)


def _coordinates(points: Sequence[TrendPoint]) -> str:
    return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in points)


def _levels(
    points: Sequence[TrendPoint],
    values: "pd.Series[float]",
    begun: set[str],
    y_of: Callable[[float], float],
) -> Iterator[tuple[float, float, float]]:
    """Yield a horizontal line at the median of each segment between changes."""
    starts = [n for n, point in enumerate(points) if n == 0 or point.run_id in begun]
    for start, end in zip(starts, [*starts[1:], len(points)], strict=True):
        middle = float(values.iloc[start:end].median())
        yield points[start].x, points[end - 1].x, y_of(middle)


def _x_axis(times: Sequence[datetime]) -> tuple[Callable[[datetime], float], list[Tick]]:
    first, last = times[0], times[-1]
    span = max((last - first).total_seconds(), 1.0)
    width = WIDTH - LEFT - RIGHT

    def x_of(when: datetime) -> float:
        return round(LEFT + width * (when - first).total_seconds() / span, 1)

    form = "%Y-%m-%d" if span > 2 * 86_400 else "%d %b %H:%M"
    middle = first + (last - first) / 2
    return x_of, [Tick(x_of(when), f"{when:{form}}") for when in (first, middle, last)]


def _y_axis(
    values: "pd.Series[float]", tell: Callable[[float], str]
) -> tuple[Callable[[float], float], list[Tick]]:
    """Return a function from values to y coordinates, clipped at the edges, and round ticks."""
    low, high = float(values.min()), float(values.max())
    margin = max(0.08 * (high - low), 0.01 * high, 1e-3)
    low, high = max(low - margin, 0.0), high + margin
    height = HEIGHT - TOP - BOTTOM

    def y_of(time_us: float) -> float:
        share = (float(np.clip(time_us, low, high)) - low) / (high - low)
        return round(TOP + height * (1 - share), 1)

    return y_of, [Tick(y_of(value), tell(value)) for value in round_values(low, high)]


def round_values(low: float, high: float, most: int = 4) -> list[float]:
    """Return at most `most` + 1 round values from `low` to `high`."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]
