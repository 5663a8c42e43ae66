"""What the kernels used besides time: memory, where the CPU time went, nodes. Figures out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from harness.analysis.compare import WHOLE_LOAD
from harness.report.collect import RunReport
from harness.report.drawing import Figure, by_kernel, column_width, draw, facet
from harness.report.view import View, number, short_case, threads_words
from harness.verdict import Verdict

_MEMORY_FIELDS = ("PageTables", "VmallocUsed", "LazilyFreed", "Slab", "KernelStack")
_PROFILE_ROWS = 14

# What the series' cover letter reports, message id 20240102184633.748113-1-urezki@gmail.com:
# share of native_queued_spin_lock_slowpath at 64 threads without and with the series.
PUBLISHED_THREADS = 64
PUBLISHED_SPIN = {"without the series": 0.9307, "with the series": 0.1651}


@dataclass(frozen=True)
class Profile:
    """Where the CPU time of one kernel's boots went, mean over boots.

    Shares are of all time that was not idle. `waits`: by the function that wanted the lock.
    """

    kernel: str
    boots: int
    nr_threads: int
    spin_share: float
    self_share: Mapping[str, float]
    waits: Mapping[str, float]


def load_profiles(report: RunReport, folder: Path) -> list[Profile]:
    """Return the profiles of the passed boots at the largest thread count, one a kernel.

    Reads `profile.json` of each boot's folder; boots without one are left out.
    """
    jobs = {job.position: job for job in report.jobs}
    passed = [b for b in report.boots if b.verdict is Verdict.PASSED and b.position in jobs]
    most = max((jobs[boot.position].nr_threads for boot in passed), default=0)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for boot in passed:
        job = jobs[boot.position]
        if job.nr_threads == most and (profile := _load(folder / boot.folder / "profile.json")):
            found.setdefault(job.kernel, []).append(profile)
    return [
        Profile(
            kernel=kernel,
            boots=len(profiles),
            nr_threads=most,
            spin_share=sum(float(p.get("spin_share", 0)) for p in profiles) / len(profiles),
            self_share=_mean_shares([p.get("self") or {} for p in profiles]),
            waits=_mean_shares([p.get("waiting_for_lock_taken_in") or {} for p in profiles]),
        )
        for kernel, profiles in found.items()
    ]


def _load(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and document.get("version") == 1 else {}


def _mean_shares(shares: list[Mapping[str, float]]) -> dict[str, float]:
    frame = pd.DataFrame(shares).fillna(0.0)
    return {str(name): float(value) for name, value in frame.mean().items()}


def share_rows(profiles: list[Profile], what: str) -> list[tuple[str, list[float]]]:
    """Return the largest shares of `what` (`self_share` or `waits`): name, one share a profile."""
    names = {name for profile in profiles for name in getattr(profile, what)}
    rows = [(name, [getattr(p, what).get(name, 0.0) for p in profiles]) for name in names]
    return sorted(rows, key=lambda row: (-max(row[1]), row[0]))[:_PROFILE_ROWS]


def draw_memory(view: View) -> Figure | None:
    """Draw the guest's memory before the load, after it, and settled."""
    frame = memory_frame(view)
    if frame.empty:
        return None
    means = frame.groupby(["kernel", "moment", "field"], sort=False)["mib"].mean().reset_index()
    moments = list(dict.fromkeys(frame["moment"]))
    fields = [field for field in _MEMORY_FIELDS if field in set(means["field"])]
    level = alt.Axis(labelAngle=0)
    chart = (
        alt.Chart(means)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=45), strokeWidth=1.6)
        .encode(
            x=alt.X("moment:N", sort=moments, title=None, axis=level),
            y=alt.Y("mib:Q", title="MiB", axis=alt.Axis(tickCount=4)),
            **by_kernel(view.kernels),
        )
        .properties(width=column_width(2), height=110)
        .facet(**facet("field", fields, 2))
        .resolve_scale(y="independent")
    )
    return Figure(
        "memory",
        f"Memory before and after, {threads_words(view.most_threads)}",
        "The guest's /proc/meminfo before the module is loaded, right after it ended, and once "
        "lazily freed areas had time to go; mean over boots.",
        "; ".join(
            f"{field} of {kernel} {moment}: {mib:.1f} MiB"
            for kernel, moment, field, mib in means.itertuples(index=False)
        ),
        draw(chart),
    )


def memory_frame(view: View) -> pd.DataFrame:
    """Return kernel, boot, moment, field, mib of the passed boots at the largest thread count."""
    jobs = {job.position: job for job in view.report.jobs}
    rows = []
    for number_, boot in enumerate(view.report.boots):
        readings = boot.facts.get("meminfo_kib") or []
        job = jobs[boot.position]
        if boot.verdict is not Verdict.PASSED or job.nr_threads != view.most_threads:
            continue
        for moment, reading in zip(_moments(len(readings)), readings, strict=False):
            rows += [
                (job.kernel, number_, moment, field, reading[field] / 1024)
                for field in _MEMORY_FIELDS
                if field in reading
            ]
    return pd.DataFrame(rows, columns=["kernel", "boot", "moment", "field", "mib"])


def _moments(readings: int) -> list[str]:
    """Name the readings: one before, one after each load, one settled."""
    if readings <= 2:
        return ["before", "after"]
    loads = readings - 2
    return ["before", *(f"load {n}" if loads > 1 else "after" for n in range(1, loads + 1)),
            "settled"]  # fmt: skip


def draw_nodes(view: View) -> Figure | None:
    """Draw throughput over the number of vmap nodes, where kernels had at least three counts."""
    nodes = view.nodes_of_kernel
    if len(set(nodes.values())) < 3:
        return None
    frame = pd.DataFrame(
        [
            (short_case(row.case), nodes[row.kernel], row.per_s, row.per_s_low, row.per_s_high)
            for row in view.throughputs
            if row.nr_threads == view.most_threads
            and row.kernel in nodes
            and row.case != WHOLE_LOAD
        ],
        columns=["case", "nodes", "per_s", "low", "high"],
    )
    cases = list(dict.fromkeys(frame["case"]))
    columns = min(3, len(cases))
    axis = alt.Axis(values=sorted(set(frame["nodes"])), format="d", labelOverlap=True)
    log = alt.Scale(type="log", nice=False, padding=8)
    x = alt.X("nodes:Q", title="vmap nodes", axis=axis, scale=alt.Scale(type="log", base=2))
    y: dict[str, Any] = {
        "title": "calls per second",
        "scale": log,
        "axis": alt.Axis(format="~s", tickCount=4),
    }
    base = alt.Chart(frame).encode(x=x)
    chart = (
        alt.layer(
            base.mark_line(strokeWidth=1.6, color="#0a0a01").encode(y=alt.Y("per_s:Q", **y)),
            base.mark_rule(color="#0a0a01").encode(y=alt.Y("low:Q", **y), y2="high:Q"),
            base.mark_point(filled=True, size=50, opacity=1, color="#0a0a01").encode(
                y=alt.Y("per_s:Q", **y)
            ),
        )
        .properties(width=column_width(columns), height=160)
        .facet(**facet("case", cases, columns))
        .resolve_scale(y="independent")
    )
    return Figure(
        "nodes",
        f"Throughput over the number of nodes, {threads_words(view.most_threads)}",
        "Calls per second of all workers against the vmap nodes that the kernel really had, on log "
        "scales; where the line is flat, more nodes no longer help.",
        "; ".join(
            f"{case} with {count:.0f} nodes: {number(per_s)} a second"
            for case, count, per_s, _, _ in frame.itertuples(index=False)
        ),
        draw(chart),
    )
