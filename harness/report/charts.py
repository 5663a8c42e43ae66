"""The page's charts of times: ratios, workers, run order."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from harness.analysis.wording import (
    format_ratio,
    interval_text,
    number,
    short_case,
    sweep_parameters,
    threads_text,
)
from harness.report.drawing import (
    BETTER,
    INK,
    NEUTRAL,
    SOFT,
    WIDTH,
    WORSE,
    Figure,
    by_kernel,
    column_width,
    columns_for,
    draw,
    facetted,
)
from harness.report.rows import Effect
from harness.report.view import View

_MANY_POINTS = 1500  # above which the chart of workers shows quantiles
_SHARE_OF_LARGEST = 0.3  # of the axis by which intervals may extend it; wider ones are cut


def draw_forest(view: View) -> Figure | None:
    """Draw the ratios at the largest size with their intervals, a row per case and kernel."""
    effects = [effect for effect in view.main_effects if view.at_largest(effect)]
    if not effects:
        return None
    rows = pd.DataFrame([_forest_row(effect, view) for effect in effects])
    domain = ratio_domain(rows)
    cut = bool((rows["low"] < domain[0]).any() or (rows["high"] > domain[1]).any())
    rows["low"], rows["high"] = (rows[end].clip(*domain) for end in ("low", "high"))
    scale = alt.Scale(type="log", nice=False, domain=domain, clamp=True)
    x_axis = alt.Axis(
        values=ratio_ticks(domain), labelExpr="format(datum.value, '~g') + 'x'", grid=True
    )
    x: dict[str, Any] = {"scale": scale, "axis": x_axis, "title": _ratio_title(view)}
    room = 14 + 7.4 * max(len(label) for label in rows["label"])
    y_axis = alt.Axis(domain=False, ticks=False, labelLimit=1000, minExtent=room, labelColor=INK)
    y = alt.Y("label:N", sort=list(rows["label"]), title=None, axis=y_axis)
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(rows)
    beside = base.mark_text(align="left", x=WIDTH - 170, fontSize=12).encode(y=y, color="ink:N")
    chart = alt.layer(
        alt.Chart(pd.DataFrame({"one": [1.0]}))
        .mark_rule(color=INK, strokeWidth=1.2)
        .encode(x=alt.X("one:Q", **x)),
        base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(
            x=alt.X("low:Q", **x), x2="high:Q", y=y, color=colour
        ),
        base.mark_point(filled=True, size=95, opacity=1).encode(
            x=alt.X("ratio:Q", **x), y=y, color=colour
        ),
        beside.encode(text="words:N", color=alt.Color("ink:N", scale=None)),
    ).properties(width=WIDTH - 190, height=alt.Step(26))
    where = f" at {size_text(effects[0])}" if len(view.sizes) > 1 else ""
    return Figure(
        "forest",
        f"Ratio per case{where}, with 95 % intervals",
        f"Right of 1x: faster than {view.label(view.baseline)}. A coloured mark is a difference "
        "that is shown; a grey one is compatible with none. The line is the 95 % interval over "
        "boots" + (", cut where it leaves the chart." if cut else "."),
        "; ".join(_effect_text(effect, view) for effect in effects),
        draw(chart),
    )


def _forest_row(effect: Effect, view: View) -> dict[str, Any]:
    colour = (BETTER if effect.ratio > 1 else WORSE) if effect.shown else NEUTRAL
    parts = [short_case(effect.case)]
    if len(view.kernels) > 2:
        parts.append(view.label(effect.kernel))
    low, high = format_ratio(effect.low), format_ratio(effect.high)
    return {
        "label": ", ".join(parts),
        "words": f"{format_ratio(effect.ratio)}x  ({low} to {high})",
        "colour": colour,
        "ink": INK if effect.shown else SOFT,
        "ratio": effect.ratio,
        "low": effect.low,
        "high": effect.high,
    }


def _effect_text(effect: Effect, view: View) -> str:
    row = _forest_row(effect, view)
    return f"{row['label']}: {number(effect.ratio)}x, {interval_text(effect)}, {effect.word}"


def size_text(effect: Effect) -> str:
    """Return the size of a row as "64 CPUs, 64 threads", with other parameters of the sweep."""
    more = sweep_parameters(effect.workload)
    return ", ".join([f"{effect.cpus} CPUs", threads_text(effect.nr_threads), *more])


def _ratio_title(view: View) -> str:
    names = view.label(view.kernels[1]) if len(view.kernels) == 2 else "the kernel"
    arrows = "\N{LEFTWARDS ARROW} slower", "faster \N{RIGHTWARDS ARROW}"
    middle = f"time of {view.label(view.baseline)} / time of {names}, log scale"
    return "   \N{MIDDLE DOT}   ".join((arrows[0], middle, arrows[1]))


def ratio_domain(rows: pd.DataFrame) -> list[float]:
    """Return both ends of the axis, which includes 1, all ratios, and intervals unless too wide."""
    low, high = min(float(rows["ratio"].min()), 0.95), max(float(rows["ratio"].max()), 1.05)
    reach = (high / low) ** (1 + _SHARE_OF_LARGEST)
    low = min([low, *(value for value in rows["low"] if value > low / reach)])
    high = max([high, *(value for value in rows["high"] if value < high * reach)])
    margin = (high / low) ** 0.04
    return [low / margin, high * margin]


# (maximum ratio of the ends of the axis, ticks of each power of ten)
_STEPS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (10, (1, 1.5, 2, 3, 5, 7)),
    (60, (1, 2, 5)),
    (2000, (1, 3)),
    (math.inf, (1,)),
)


def ratio_ticks(domain: Sequence[float]) -> list[float]:
    """Return round values for the ticks of a logarithmic axis, including 1."""
    low, high = domain
    if high / low < 2.5:
        step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.25) if (high - low) / s < 8)
        count = range(math.ceil(low / step), int(high / step) + 1)
        return [round(step * n, 2) for n in count]
    span = high / low
    steps = next(steps for most, steps in _STEPS if span < most)
    ticks = [m * 10.0**e for e in range(-6, 7) for m in steps]
    return [tick for tick in ticks if low <= tick <= high]


def draw_workers(view: View) -> Figure | None:
    """Draw the time of each worker at the largest size; None for a single worker."""
    measured = view.measured
    if measured.empty or measured["nr_threads"].max() < 2:
        return None
    threads = int(measured["nr_threads"].max())
    largest = measured[measured["nr_threads"] == threads]
    means = largest.groupby(["case", "kernel", "worker"], observed=True)["avg_us"].mean()
    unit, per_unit = ("s", 1e6) if means.max() >= 10e6 else ("ms", 1e3)
    frame = (means / per_unit).rename("time").reset_index().astype({"case": str, "kernel": str})
    frame["case"] = frame["case"].map(short_case)
    frame["rank"] = frame.groupby(["case", "kernel"])["time"].rank(method="first")
    if len(frame) > _MANY_POINTS:
        frame = _quantiles(frame)
    cases = list(dict.fromkeys(frame["case"]))
    columns = columns_for(len(cases))
    rank_axis = alt.Axis(format="d", values=rank_ticks(threads))
    rank_scale = alt.Scale(domain=[1, threads], nice=False, padding=14)
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=36, opacity=0.9)
        .encode(
            x=alt.X("rank:Q", title="worker, fastest first", axis=rank_axis, scale=rank_scale),
            y=alt.Y("time:Q", title=f"one pass, {unit}", axis=alt.Axis(tickCount=4)),
            **by_kernel(view.kernels, view.label),
        )
        .properties(width=column_width(columns), height=150)
    )
    return Figure(
        "workers",
        f"Time of each worker at {threads_text(threads)}",
        "Each mark is one worker's time for one pass of a case, mean over boots, fastest first. "
        "A flat row means that all workers were served alike.",
        "; ".join(
            f"{case} on {kernel}: {group['time'].min():.3g} to {group['time'].max():.3g} {unit}"
            for (case, kernel), group in frame.groupby(["case", "kernel"], sort=False)
        ),
        draw(facetted(chart, "case", cases)),
    )


def rank_ticks(workers: int) -> list[int]:
    """Return the ticks of an axis from 1 to the number of workers, including both."""
    if workers <= 8:
        return list(range(1, workers + 1))
    steps = (factor * 10**power for power in range(7) for factor in (1, 2, 5))
    step = next(step for step in steps if workers / step <= 8)
    between = (tick for tick in range(step, workers, step) if workers - tick >= step / 2)
    return [1, *between, workers]


def _quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Return at most 21 points per case and kernel, spread evenly over the ranks."""

    def thin(group: pd.DataFrame) -> pd.DataFrame:
        picks = group["rank"].quantile([n / 20 for n in range(21)], interpolation="nearest")
        return group[group["rank"].isin(picks)]

    parts = [thin(group) for _, group in frame.groupby(["case", "kernel"], sort=False)]
    return pd.concat(parts, ignore_index=True)


def draw_run_order(view: View) -> Figure | None:
    """Draw the time of each boot's load in run order, relative to the median of its kernel."""
    boots = view.report.boots_frame
    passed = boots[(boots["verdict"] == "passed") & boots["load_ns"].notna()]
    if len(passed) < 3:
        return None
    frame = pd.DataFrame(
        {
            "order": passed["boot"].astype(int) + 1,
            "load_s": passed["load_ns"].astype(float) / 1e9,
            "kernel": passed["kernel"].astype(str),
            "size": passed["workload"].astype(str),
        }
    )
    medians = frame.groupby(["kernel", "size"])["load_s"].transform("median")
    frame["relative"] = frame["load_s"] / medians
    if len(frame) > _MANY_POINTS:
        frame = frame.iloc[:: math.ceil(len(frame) / _MANY_POINTS)]
    order_axis = alt.Axis(tickMinStep=1, tickCount=12, format="d")
    padded = alt.Scale(zero=False, padding=14)
    exact = alt.Scale(zero=False, nice=False, padding=14)
    title = "time / median of its kernel"
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=60, opacity=1)
        .encode(
            x=alt.X("order:Q", title="boot, in run order", axis=order_axis, scale=exact),
            y=alt.Y("relative:Q", title=title, scale=padded, axis=alt.Axis(tickCount=5)),
            **by_kernel(view.kernels, view.label),
        )
        .properties(width=WIDTH, height=170)
    )
    spread = frame["relative"].max() / frame["relative"].min()
    return Figure(
        "order",
        "Drift over the run",
        "Each mark is the wall time of one boot's load of the module, relative to the median of "
        "its own kernel and workload. A slope would mean that the machine changed under way.",
        f"{len(frame)} boots; the slowest took {spread:.2f} times the fastest, each relative to "
        "its own median.",
        draw(chart),
    )
