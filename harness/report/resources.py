"""The page's chart of throughput over the number of vmap nodes."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from harness.analysis.times import WHOLE_LOAD
from harness.analysis.wording import number, short_case, threads_text
from harness.report.drawing import (
    SERIES,
    SOFT,
    Figure,
    column_width,
    columns_for,
    draw,
    facetted,
    log_ticks,
)
from harness.report.prediction import RunPrediction
from harness.report.rows import Throughput
from harness.report.view import View
from harness.testmod.cases import short_name


def draw_nodes(view: View, prediction: RunPrediction | None) -> Figure | None:
    """Draw throughput over the number of vmap nodes; None with fewer than three numbers."""
    nodes = view.nodes_of_kernel
    if len(set(nodes.values())) < 3:
        return None
    rows = [
        row
        for row in view.throughputs
        if row.nr_threads == view.most_threads and row.kernel in nodes and row.case != WHOLE_LOAD
    ]
    frame = pd.DataFrame(
        [
            (short_case(row.case), nodes[row.kernel], row.per_s, row.per_s_low, row.per_s_high)
            for row in rows
        ],
        columns=["case", "nodes", "per_s", "low", "high"],
    )
    predicted = _predicted_per_s(rows, nodes, prediction)
    frame["predicted"] = predicted
    cases = list(dict.fromkeys(frame["case"]))
    columns = columns_for(len(cases))
    axis = alt.Axis(values=sorted(set(frame["nodes"])), format="d", labelFlush=False)
    log = alt.Scale(type="log", nice=False, padding=8)
    x = alt.X("nodes:Q", title="vmap nodes", axis=axis, scale=alt.Scale(type="log", base=2))
    y: dict[str, Any] = {
        "title": "loops per second",
        "scale": log,
        "axis": alt.Axis(values=log_ticks(list(frame["per_s"])), format="~s", labelOverlap=True),
    }
    base = alt.Chart(frame).encode(x=x)
    chart = alt.layer(
        base.mark_line(strokeWidth=1.6, color=SERIES[1]).encode(y=alt.Y("per_s:Q", **y)),
        base.mark_line(strokeWidth=1.6, color=SOFT, strokeDash=[5, 4]).encode(
            y=alt.Y("predicted:Q", **y)
        ),
        base.mark_rule(color=SERIES[1]).encode(y=alt.Y("low:Q", **y), y2="high:Q"),
        base.mark_point(filled=True, size=50, opacity=1, color=SERIES[1]).encode(
            y=alt.Y("per_s:Q", **y)
        ),
    ).properties(width=column_width(columns), height=160)
    return Figure(
        "nodes",
        f"Throughput over the number of nodes, {threads_text(view.most_threads)}",
        "Loops per second of all workers against the vmap nodes that the kernel really had, on log "
        "scales; where the line is flat, more nodes no longer help. Bars are 95 % intervals."
        + (" Dashed: predicted from one CPU." if any(predicted) else ""),
        "; ".join(
            f"{case} with {count:.0f} nodes: {number(per_s)} a second"
            + (f", predicted {number(expected)}" if expected else "")
            for (case, count, per_s, _, _), expected in zip(
                frame.drop(columns="predicted").itertuples(index=False), predicted, strict=True
            )
        ),
        draw(facetted(chart, "case", cases)),
    )


def _predicted_per_s(
    rows: list[Throughput], nodes: Mapping[str, int], prediction: RunPrediction | None
) -> list[float | None]:
    settings = [(short_name(row.case), row.cpus, nodes[row.kernel]) for row in rows]
    known = prediction.by_setting if prediction else {}
    return [
        1 / prediction.loop_s(setting, row.loops) if prediction and setting in known else None
        for setting, row in zip(settings, rows, strict=True)
    ]
