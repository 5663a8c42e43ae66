"""The page's charts over the number of threads: throughput and ratio."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from harness.analysis.times import WHOLE_LOAD
from harness.analysis.wording import number, series_name, short_case
from harness.report.charts import ratio_ticks
from harness.report.drawing import (
    INK,
    Figure,
    by_kernel,
    column_width,
    columns_for,
    draw,
    facetted,
    log_ticks,
)
from harness.report.predicted_speedup import Expected, PublishedRatio
from harness.report.published_rows import PublishedRow, points_of
from harness.report.view import View

MEASURED, PREDICTED, PUBLISHED = "measured", "predicted", "published"
_DASHES = {MEASURED: [1, 0], PREDICTED: [5, 4]}


def draw_throughput(view: View, curves: Sequence[Expected]) -> Figure | None:
    """Draw throughput over the number of threads; None with a single point and no prediction."""
    frame = _with_curves(_throughput_frame(view, curves))
    if frame.empty:
        return None
    return Figure(
        "scaling",
        "Throughput over threads",
        "Loops per second of all workers together against the number of workers, both on log "
        "scales: a falling line shows lock contention. Bars are 95 % intervals over boots."
        + _caption(curves),
        "; ".join(
            f"{panel} on {kernel}, {what}: {group['value'].iloc[0]:.3g} a second at "
            f"{group['threads'].iloc[0]}, {group['value'].iloc[-1]:.3g} at "
            f"{group['threads'].iloc[-1]} threads"
            for (panel, kernel, what), group in frame.groupby(["panel", "kernel", "what"])
        ),
        _draw(
            view,
            frame,
            "loops per second",
            log_ticks(list(frame["value"])),
            "format(datum.value, '~s')",
            shared=False,
        ),
    )


def draw_speedup(
    view: View,
    curves: Sequence[Expected],
    published: PublishedRatio | None,
    found: Sequence[PublishedRow] = (),
) -> Figure | None:
    """Draw the ratio over the number of threads; None with a single point and no prediction."""
    frame = _with_curves(_speedup_frame(view, curves, published, found))
    if frame.empty:
        return None
    point = (
        f" The cross is the published ratio, {published.ratio}x at {published.threads} "
        f"threads{'' if published.same_load else ', of three cases together'}."
        if published
        else ""
    )
    if points_of(found):
        point += " Crosses are published ratios, see Published."
    return Figure(
        "speedup",
        "Ratio over threads",
        f"How many times faster than {view.baseline}, against the number of workers, on log "
        "scales; bars are 95 % intervals." + _caption(curves) + point,
        "; ".join(
            f"{panel}, {kernel}, {what}: "
            + ", ".join(
                f"{number(value)}x at {threads}"
                for threads, value in zip(group["threads"], group["value"], strict=True)
            )
            for (panel, kernel, what), group in frame.groupby(["panel", "kernel", "what"])
        ),
        _draw(
            view,
            frame,
            "ratio",
            ratio_ticks([frame["value"].min() * 0.97, frame["value"].max() * 1.03]),
            "format(datum.value, '~g') + 'x'",
            shared=True,
        ),
    )


def _caption(curves: Sequence[Expected]) -> str:
    return " Dashed: predicted from one CPU." if curves else ""


def _panels(view: View) -> dict[tuple[str, str], str]:
    """Return (workload, case) -> title of its chart."""
    keys = [(series_name(row.workload), row.case) for row in view.throughputs]
    several = len({workload for workload, _ in keys}) > 1
    return {
        (workload, case): f"{short_case(case)}, {workload}" if several else short_case(case)
        for workload, case in keys
    }


_COLUMNS = ["panel", "kernel", "what", "threads", "value", "low", "high"]


def _throughput_frame(view: View, curves: Sequence[Expected]) -> pd.DataFrame:
    panels = _panels(view)
    rows: list[tuple[Any, ...]] = [
        (panels[series_name(row.workload), row.case], row.kernel, MEASURED, row.nr_threads,
         row.per_s, row.per_s_low, row.per_s_high)
        for row in view.throughputs
        if row.case != WHOLE_LOAD
    ]  # fmt: skip
    for each in curves:
        panel = panels[each.workload, each.case]
        for kernel, per_s in zip((view.baseline, each.kernel), each.per_s, strict=False):
            rows.append((panel, kernel, PREDICTED, each.cpus, per_s, None, None))
    return pd.DataFrame(rows, columns=_COLUMNS).drop_duplicates(_COLUMNS[:4])


def _speedup_frame(
    view: View,
    curves: Sequence[Expected],
    published: PublishedRatio | None,
    found: Sequence[PublishedRow],
) -> pd.DataFrame:
    panels = _panels(view)
    rows: list[tuple[Any, ...]] = [
        (panels[series_name(row.workload), row.case], row.kernel, MEASURED, row.nr_threads,
         row.ratio, row.low, row.high)
        for row in view.main_effects
    ]  # fmt: skip
    rows += [
        (panels[e.workload, e.case], e.kernel, PREDICTED, e.cpus, e.ratio, None, None)
        for e in curves
    ]
    if published:
        panel = panels[published.workload, published.case]
        rows.append(
            (panel, published.kernel, PUBLISHED, published.threads, published.ratio, None, None)
        )
    rows += [
        (panels[workload, case], kernel, PUBLISHED, threads, ratio, None, None)
        for workload, case, kernel, threads, ratio in points_of(found)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _with_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of panels with more than one size."""
    sizes = frame.groupby("panel")["threads"].transform("nunique")
    return frame[sizes > 1]


def _draw(
    view: View, frame: pd.DataFrame, title: str, ticks: Sequence[float], label: str, shared: bool
) -> str:
    """Return the charts as SVG. `label`: Vega expression of ticks; `shared`: same y axis in all."""
    panels = list(dict.fromkeys(frame["panel"]))
    columns = columns_for(len(panels))
    x_axis = alt.Axis(values=sorted(frame["threads"].unique()), format="d", labelFlush=False)
    x = alt.X("threads:Q", title="threads", axis=x_axis, scale=alt.Scale(type="log", base=2))
    y_axis = alt.Axis(values=list(ticks), labelExpr=label, labelOverlap=True)
    scale = alt.Scale(type="log", nice=False, padding=8)
    shown = [kernel for kernel in view.kernels if kernel in set(frame["kernel"])]
    encodings = by_kernel(view.kernels, view.label, shown)
    base = alt.Chart(frame).encode(x=x, color=encodings["color"])

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=title, scale=scale, axis=y_axis)

    measured = base.transform_filter(f"datum.what == '{MEASURED}'")
    reference = alt.Chart(frame).transform_filter(f"datum.what == '{PUBLISHED}'")
    reference = reference.encode(x=x, y=y("value"))
    layers = [
        base.mark_line(strokeWidth=1.6).encode(y=y("value"), strokeDash=_dashes(frame)),
        measured.mark_rule(strokeWidth=1.2).encode(y=y("low"), y2="high:Q"),
        measured.mark_point(filled=True, size=50, opacity=1).encode(
            y=y("value"), shape=encodings["shape"]
        ),
        reference.mark_point(shape="cross", filled=True, size=110, opacity=1, color=INK),
        reference.mark_text(align="right", dx=-12, dy=14, color=INK, fontSize=12, text=PUBLISHED),
    ]
    chart = alt.layer(*layers).properties(
        width=column_width(columns), height=170 if columns > 1 else 240
    )
    return draw(facetted(chart, "panel", panels, shared))


def _dashes(frame: pd.DataFrame) -> alt.StrokeDash:
    """Return the encoding of predicted and measured lines, with its legend."""
    kinds = [kind for kind in _DASHES if kind in set(frame["what"])]
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300)
    scale = alt.Scale(domain=kinds, range=[_DASHES[kind] for kind in kinds])
    return alt.StrokeDash("what:N", scale=scale, legend=legend if len(kinds) > 1 else None)
