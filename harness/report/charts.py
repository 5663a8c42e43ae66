"""The page's charts: values in, SVG text out. Altair describes them, vl-convert draws them.

Every colour is written as a stand-in that `_inline` turns into a CSS variable of the page, so one
drawing serves light, dark and print.
"""

import html
import math
import re
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert as vlc

from harness.report.view import Effect, View, short_case, threads_words

# Stand-in -> CSS variable, see templates/style.css.
_VARIABLES = {
    "#010101": "--ink",
    "#020202": "--soft",
    "#030303": "--rule",
    "#040404": "--better",
    "#050505": "--worse",
    "#060606": "--neutral",
    "#0a0a00": "--series-0",
    "#0a0a01": "--series-1",
    "#0a0a02": "--series-2",
    "#0a0a03": "--series-3",
    "#0a0a04": "--series-4",
    "#0a0a05": "--series-5",
    "#0b0b0b": "--paper",
}
INK, SOFT, RULE, BETTER, WORSE, NEUTRAL = list(_VARIABLES)[:6]
SERIES = list(_VARIABLES)[6:12]
PAPER = "#0b0b0b"
_SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "triangle-down"]
_WIDTH = 640
_MANY_POINTS = 1500  # beyond it a chart shows quantiles instead of every worker


@dataclass(frozen=True)
class Figure:
    """A chart with its words. `svg` is safe markup; `summary` is the text alternative."""

    name: str
    title: str
    reading: str
    summary: str
    svg: str


def draw_figures(view: View) -> list[Figure]:
    """Return the charts that this run has data for, the answer first."""
    drawn = (_forest(view), _workers(view), _run_order(view), _memory(view))
    return [figure for figure in drawn if figure]


def _forest(view: View) -> Figure | None:
    if not view.main_effects:
        return None
    rows = pd.DataFrame([_forest_row(effect, view) for effect in view.main_effects])
    order = list(rows["label"])
    scale = alt.Scale(type="log", nice=False, domain=_ratio_domain(rows), clamp=True)
    colour = alt.Color("colour:N", scale=None)
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=320, domain=False))
    ticks = _ratio_ticks(_ratio_domain(rows))
    x_axis = alt.Axis(values=ticks, labelExpr="datum.label + 'x'", grid=True)
    x = alt.X("ratio:Q", scale=scale, axis=x_axis, title=_ratio_title(view))
    base = alt.Chart(rows)
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(color=INK, strokeWidth=1.2)
    chart = alt.layer(
        one.encode(x=alt.X("one:Q", scale=scale, axis=x_axis, title=_ratio_title(view))),
        base.mark_rule(strokeWidth=2.5, strokeCap="round").encode(
            x=alt.X("low:Q", scale=scale, axis=x_axis, title=_ratio_title(view)),
            x2="high:Q",
            y=y,
            color=colour,
        ),
        base.mark_point(filled=True, size=95, opacity=1).encode(x=x, y=y, color=colour),
    ).properties(width=_WIDTH, height=alt.Step(26))
    return Figure(
        "forest",
        "Ratio per case, with 95 % intervals",
        f"Right of 1x: faster than {view.baseline}. A coloured mark is a difference that is shown; "
        "a grey one is compatible with none. The line is the 95 % interval over boots.",
        "; ".join(_effect_words(effect, view) for effect in view.main_effects[:40]),
        _draw(chart),
    )


def effect_label(effect: Effect, view: View) -> str:
    """Return a row's name: the case, and kernel and size where they vary."""
    parts = [short_case(effect.case)]
    if len(view.kernels) > 2:
        parts.append(effect.kernel)
    if len({size[0] for size in view.sizes}) > 1:
        parts.append(effect.workload)
    if len({size[1:] for size in view.sizes}) > 1:
        parts.append(f"{effect.cpus} CPUs, {threads_words(effect.nr_threads)}")
    return " · ".join(parts)


def _forest_row(effect: Effect, view: View) -> dict[str, Any]:
    colour = NEUTRAL
    if effect.shown:
        colour = BETTER if effect.ratio > 1 else WORSE
    label = effect_label(effect, view)
    values = {"ratio": effect.ratio, "low": effect.low, "high": effect.high}
    return {"label": label, "colour": colour, **values}


def _effect_words(effect: Effect, view: View) -> str:
    found = f"{effect.ratio:.3g}x, interval {effect.low:.3g} to {effect.high:.3g}"
    return f"{effect_label(effect, view)}: {found}, {effect.word}"


def _ratio_title(view: View) -> str:
    names = " or ".join(view.kernels[1:]) if len(view.kernels) <= 3 else "the other kernel"
    return f"time of {view.baseline} / time of {names} (log scale)"


def _ratio_domain(rows: pd.DataFrame) -> list[float]:
    """Return the axis: around 1 and all estimates; an interval may leave it on a wild run."""
    low, high = float(rows["ratio"].min()), float(rows["ratio"].max())
    ends = rows[(rows["low"] > low / 4) & (rows["high"] < high * 4)]
    low = min(low, float(ends["low"].min()) if len(ends) else low, 0.95)
    high = max(high, float(ends["high"].max()) if len(ends) else high, 1.05)
    margin = 1.06
    return [low / margin, high * margin]


def _ratio_ticks(domain: list[float]) -> list[float]:
    low, high = domain
    if high / low < 2:
        step = 0.05 if high / low < 1.4 else 0.1
        return [round(step * n, 2) for n in range(math.ceil(low / step), int(high / step) + 1)]
    steps = (1, 2, 5) if high / low < 50 else (1, 3)
    ticks = [m * 10.0**e for e in range(-4, 5) for m in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _workers(view: View) -> Figure | None:
    measured = view.measured
    if measured.empty:
        return None
    threads = int(measured["nr_threads"].max())
    largest = measured[measured["nr_threads"] == threads]
    keys = ["case", "kernel", "worker"]
    frame = largest.groupby(keys, observed=True)["avg_us"].mean().div(1000).reset_index()
    frame = frame.rename(columns={"avg_us": "avg_ms"})
    frame["case"] = frame["case"].astype(str).map(short_case)
    frame["kernel"] = frame["kernel"].astype(str)
    frame["rank"] = frame.groupby(["case", "kernel"])["avg_ms"].rank(method="first")
    if len(frame) > _MANY_POINTS:
        frame = _quantiles(frame)
    columns = min(3, frame["case"].nunique())
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=34, opacity=0.9)
        .encode(
            x=alt.X(
                "rank:Q",
                title="worker, fastest first",
                axis=alt.Axis(tickMinStep=1),
                scale=alt.Scale(zero=False, padding=8),
            ),
            y=alt.Y("avg_ms:Q", title="one pass, ms", scale=alt.Scale(zero=True)),
            **_by_kernel(view),
        )
        .properties(width=(_WIDTH - 60 * columns) / columns + 20, height=150)
        .facet(
            alt.Facet("case:N", title=None, sort=list(dict.fromkeys(frame["case"]))),
            columns=columns,
        )
        .resolve_scale(y="independent")
    )
    return Figure(
        "workers",
        f"Time of each worker at {threads_words(threads)}",
        "Each mark is one worker's time for one pass of a case, mean over boots, fastest first. "
        "A flat row means that all workers were served alike.",
        "; ".join(
            f"{case} on {kernel}: {group['avg_ms'].min():.3g} to {group['avg_ms'].max():.3g} ms"
            for (case, kernel), group in frame.groupby(["case", "kernel"])
        ),
        _draw(chart),
    )


def _quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Return at most 21 points a case and kernel, evenly over the ranks."""

    def thin(group: pd.DataFrame) -> pd.DataFrame:
        picks = group["rank"].quantile([n / 20 for n in range(21)], interpolation="nearest")
        return group[group["rank"].isin(picks)]

    parts = [thin(group) for _, group in frame.groupby(["case", "kernel"], sort=False)]
    return pd.concat(parts, ignore_index=True)


def _run_order(view: View) -> Figure | None:
    boots = view.report.boots_frame
    passed = boots[(boots["verdict"] == "passed") & boots["load_ns"].notna()]
    if len(passed) < 2:
        return None
    frame = pd.DataFrame(
        {
            "order": passed["boot"].astype(int) + 1,
            "load_s": passed["load_ns"].astype(float) / 1e9,
            "kernel": passed["kernel"].astype(str),
            "size": [
                f"{w}, {threads_words(int(n))}"
                for w, n in zip(passed["workload"], passed["nr_threads"], strict=True)
            ],
        }
    )
    frame["relative"] = frame["load_s"] / frame.groupby(["kernel", "size"])["load_s"].transform(
        "median"
    )
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=60, opacity=1)
        .encode(
            x=alt.X(
                "order:Q",
                title="boot, in the order in which they ran",
                axis=alt.Axis(tickMinStep=1, format="d"),
                scale=alt.Scale(zero=False, padding=12),
            ),
            y=alt.Y(
                "relative:Q",
                title="time / median of its kernel",
                scale=alt.Scale(zero=False, padding=12),
            ),
            **_by_kernel(view),
        )
        .properties(width=_WIDTH, height=170)
    )
    spread = frame["relative"].max() / frame["relative"].min()
    return Figure(
        "order",
        "Drift over the run",
        "Each mark is the wall time of one boot's load of the module, relative to the median of "
        "its own kernel and workload. A slope would mean that the machine changed under way.",
        f"{len(frame)} boots; the slowest took {spread:.2f} times the fastest, each relative to "
        "its own median.",
        _draw(chart),
    )


_MEMORY_FIELDS = ("PageTables", "VmallocUsed", "Slab", "KernelStack")


def _memory(view: View) -> Figure | None:
    frame = memory_frame(view)
    if frame.empty:
        return None
    means = frame.groupby(["kernel", "moment", "field"], sort=False)["mib"].mean().reset_index()
    moments = list(dict.fromkeys(frame["moment"]))
    chart = (
        alt.Chart(means)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=45), strokeWidth=1.6)
        .encode(
            x=alt.X("moment:N", sort=moments, title=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("mib:Q", title="MiB", scale=alt.Scale(zero=True)),
            **_by_kernel(view),
        )
        .properties(width=_WIDTH / 2 - 60, height=120)
        .facet(alt.Facet("field:N", title=None, sort=list(_MEMORY_FIELDS)), columns=2)
        .resolve_scale(y="independent")
    )
    return Figure(
        "memory",
        "Memory before and after",
        "The guest's /proc/meminfo before the module is loaded, right after, and once lazily freed "
        "areas had time to go; mean over boots.",
        "; ".join(
            f"{row.field} of {row.kernel} {row.moment}: {row.mib:.1f} MiB"
            for row in means.itertuples()
        ),
        _draw(chart),
    )


def memory_frame(view: View) -> pd.DataFrame:
    """Return kernel, boot, moment, field, mib of every boot that passed and told its memory."""
    kernel_of = {job.position: job.kernel for job in view.report.jobs}
    rows = []
    for number, boot in enumerate(view.report.boots):
        readings = boot.facts.get("meminfo_kib") or []
        if boot.verdict.value != "passed" or len(readings) < 2:
            continue
        for moment, reading in zip(_moments(len(readings)), readings, strict=True):
            rows += [
                {
                    "kernel": kernel_of.get(boot.position, "?"),
                    "boot": number,
                    "moment": moment,
                    "field": field,
                    "mib": reading[field] / 1024,
                }
                for field in _MEMORY_FIELDS
                if field in reading
            ]
    return pd.DataFrame(rows, columns=["kernel", "boot", "moment", "field", "mib"])


def _moments(readings: int) -> list[str]:
    if readings == 2:
        return ["before", "after"]
    middle = ["after"] if readings == 3 else [f"load {n}" for n in range(1, readings - 1)]
    return ["before", *middle, "settled"]


def _by_kernel(view: View) -> dict[str, Any]:
    """Return the encodings that tell kernels apart, by colour and by shape."""
    names = view.kernels
    colours = [SERIES[n % len(SERIES)] for n in range(len(names))]
    shapes = [_SHAPES[n % len(_SHAPES)] for n in range(len(names))]
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1)
    return {
        "color": alt.Color("kernel:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        "shape": alt.Shape("kernel:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
    }


def _draw(chart: Any) -> str:
    font = "system-ui, sans-serif"
    axis = {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "gridColor": RULE,
        "domainColor": RULE,
        "tickColor": RULE,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelPadding": 6,
    }
    spec = chart.to_dict() | {
        "background": None,
        "config": {
            "font": font,
            "axis": axis,
            "axisX": {"grid": False},
            "view": {"stroke": None},
            "legend": {"labelColor": INK, "titleColor": SOFT, "labelFontSize": 12},
            "header": {"labelColor": INK, "labelFontSize": 12, "labelFontWeight": 600},
            "mark": {"color": INK},
            "text": {"color": INK},
        },
    }
    return _inline(vlc.vegalite_to_svg(spec))


def _inline(svg: str) -> str:
    """Return the drawing for the page: scalable, in the page's colours, silent for readers."""
    svg = re.sub(r"<\?xml[^>]*>|<!DOCTYPE[^>]*>", "", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var({variable})")
    svg = re.sub(r' (role|aria-[a-z]+|xmlns:xlink)="[^"]*"', "", svg)
    width = float(re.search(r'width="([\d.]+)"', svg)[1])  # type: ignore[index]
    head = f'<svg aria-hidden="true" focusable="false" style="width:{width:.0f}px"'
    return re.sub(
        r'<svg((?: (?!width|height)[a-zA-Z:]+="[^"]*"| (?:width|height)="[^"]*")*)',
        lambda m: head + re.sub(r' (width|height|style)="[^"]*"', "", m[1]),
        svg,
        count=1,
    )


def escape(text: str) -> str:
    """Return text as markup."""
    return html.escape(text)
