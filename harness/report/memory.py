"""The page's charts and table of memory and its fragmentation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd

from harness.analysis.memory import UNUSABLE
from harness.analysis.wording import threads_text
from harness.report.drawing import Figure, by_kernel, column_width, columns_for, draw, facetted
from harness.report.view import View

_FIELDS = ("PageTables", "VmallocUsed", "LazilyFreed", "Slab", "KernelStack")
_POINT = ["workload", "cpus", "nr_threads"]


@dataclass(frozen=True)
class FreeRow:
    """Free pages of a kernel at a moment. `pages`: (mean, half of the 95 % interval) by order.

    `unusable`: likewise of the share in blocks too small for a huge page; NaN if unknown.
    """

    workload: str
    cpus: int
    nr_threads: int
    kernel: str
    moment: str
    pages: Sequence[tuple[float, float]]
    unusable: tuple[float, float]
    boots: int


def draw_memory(view: View) -> Figure | None:
    """Draw the kernel's memory before the load, after it, and at rest; largest size only."""
    rows = _largest(view, "meminfo_kib")
    rows = rows[rows["what"].isin(_FIELDS)]
    if rows.empty:
        return None
    means = pd.DataFrame({**rows, "mib": rows["mean"] / 1024})
    moments = list(dict.fromkeys(means["moment"]))
    fields = [field for field in _FIELDS if field in set(means["what"])]
    chart = (
        alt.Chart(means)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=45), strokeWidth=1.6)
        .encode(
            x=alt.X("moment:N", sort=moments, title=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("mib:Q", title="MiB", axis=alt.Axis(tickCount=4)),
            **by_kernel(view.kernels, view.label),
        )
        .properties(width=column_width(columns_for(len(fields))), height=110)
    )
    return Figure(
        "memory",
        f"Memory before and after, {_where(means)}",
        "/proc/meminfo before the module is loaded, right after it ended, and at rest, once lazily "
        "freed areas had time to go; mean over boots.",
        "; ".join(
            f"{row.what} of {row.kernel} {row.moment}: {row.mib:.1f} MiB"
            for row in means.itertuples()
        ),
        draw(facetted(chart, "what", fields)),
    )


def draw_free_pages(view: View) -> Figure | None:
    """Draw the free pages by order of their blocks; largest size only."""
    rows = _largest(view, "free_pages")
    if rows.empty:
        return None
    rows = rows.assign(order=rows["what"].astype(int))
    moments = list(dict.fromkeys(rows["moment"]))
    base = alt.Chart(rows)
    x = alt.X("order:O", title="order", axis=alt.Axis(labelAngle=0))
    series = by_kernel(view.kernels, view.label)
    beside = alt.XOffset("kernel:N", sort=list(view.kernels))
    y = alt.Y("mean:Q", title="free pages", axis=alt.Axis(tickCount=4, format="~s"))
    chart = alt.layer(
        base.mark_rule().encode(
            x=x, xOffset=beside, y=alt.Y("low:Q"), y2="high:Q", color=series["color"]
        ),
        base.mark_point(filled=True, size=45, opacity=1).encode(x=x, xOffset=beside, y=y, **series),
    ).properties(width=column_width(columns_for(len(moments))), height=150)
    return Figure(
        "free-pages",
        f"Free pages by order, {_where(rows)}",
        "Pages that were free in blocks of 2^order pages (/proc/buddyinfo, all zones): the further "
        "to the right, the less fragmented. Bars are 95 % intervals of the mean over boots.",
        "; ".join(
            f"order {row.order} of {row.kernel} {row.moment}: {row.mean:.0f} pages"
            for row in rows.itertuples()
        ),
        draw(facetted(chart, "moment", moments)),
    )


def free_rows(view: View) -> list[FreeRow]:
    """Return a row for each kernel, size and moment."""
    rows = view.report.memory
    found = []
    for _, group in rows.groupby([*_POINT, "kernel", "moment"], sort=False):
        free = group[group["group"] == "free_pages"]
        if free.empty:
            continue
        first = next(free.itertuples())
        found.append(
            FreeRow(
                *(str(first.workload), int(str(first.cpus)), int(str(first.nr_threads))),
                *(str(first.kernel), str(first.moment)),
                pages=_with_reach(free),
                unusable=next(
                    iter(_with_reach(group[group["what"] == UNUSABLE])), (math.nan, math.nan)
                ),
                boots=int(free["boots"].min()),
            )
        )
    return found


def _with_reach(rows: pd.DataFrame) -> list[tuple[float, float]]:
    reach = rows["high"] - rows["mean"]
    return [(float(mean), float(half)) for mean, half in zip(rows["mean"], reach, strict=True)]


def _largest(view: View, group: str) -> pd.DataFrame:
    """Return the rows of `group` at the largest size, of the last workload."""
    rows = view.report.memory
    rows = rows[rows["group"] == group]
    points = rows[_POINT].drop_duplicates().itertuples(index=False)
    best = max(points, key=lambda point: (point.nr_threads, point.cpus), default=None)
    return rows if best is None else rows[(rows[_POINT] == list(best)).all(axis=1)]


def _where(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"{first['workload']}, {threads_text(int(first['nr_threads']))}"
