"""The page's profile: shares of CPU time by function on each kernel."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from harness.analysis.wording import threads_text
from harness.report.drawing import INK, SOFT, WIDTH, Figure, by_kernel, draw
from harness.report.view import View
from harness.targets.symbols import SLOW_PATHS
from harness.verdict import Verdict

_ROWS = 14
_SPINNING = "waiting for spin locks"


@dataclass(frozen=True)
class KernelProfile:
    """The profile of a kernel, mean over boots, as shares of CPU time that was not idle.

    `self_share`: by function; `waits`: for spin locks, by waiting function.
    """

    kernel: str
    boots: int
    nr_threads: int
    spin_share: float
    self_share: Mapping[str, float]
    waits: Mapping[str, float]


def load_profiles(view: View, folder: Path) -> list[KernelProfile]:
    """Return the profiles of the kernels at the largest number of threads, baseline first.

    Reads `profile.json` in the folders of passed boots; boots without one are left out.
    """
    report = view.report
    jobs = report.job_of
    passed = [b for b in report.boots if b.verdict is Verdict.PASSED and b.position in jobs]
    most = max((jobs[boot.position].nr_threads for boot in passed), default=0)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for boot in passed:
        job = jobs[boot.position]
        if job.nr_threads == most and (profile := _load(folder / boot.folder / "profile.json")):
            found.setdefault(job.kernel, []).append(profile)
    return [
        KernelProfile(
            kernel=kernel,
            boots=len(profiles),
            nr_threads=most,
            spin_share=sum(float(p.get("spin_share", 0)) for p in profiles) / len(profiles),
            self_share=_mean_shares([p.get("self") or {} for p in profiles]),
            waits=_mean_shares([p.get("waiting_for_lock_taken_in") or {} for p in profiles]),
        )
        for kernel in view.kernels
        if (profiles := found.get(kernel))
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


def share_rows(profiles: Sequence[KernelProfile], what: str) -> list[tuple[str, list[float]]]:
    """Return (function, share in each profile) of the largest shares.

    `what`: `self_share` or `waits`. The slow path of spin locks has a separate row and is left out.
    """
    names = {name for profile in profiles for name in getattr(profile, what)}
    rows = [
        (name, [getattr(p, what).get(name, 0.0) for p in profiles])
        for name in names - set(SLOW_PATHS)
    ]
    return sorted(rows, key=lambda row: (-max(row[1]), row[0]))[:_ROWS]


def draw_profile(view: View, profiles: Sequence[KernelProfile]) -> Figure | None:
    """Draw each function's share of CPU time on all kernels; None for a single kernel."""
    if len(profiles) < 2:
        return None
    spin = (_SPINNING, [profile.spin_share for profile in profiles])
    rows = [spin, *share_rows(profiles, "self_share")]
    frame = pd.DataFrame(
        [
            (name, profile.kernel, share * 100)
            for name, shares in rows
            for profile, share in zip(profiles, shares, strict=True)
        ],
        columns=["function", "kernel", "share"],
    )
    order = [name for name, _ in rows]
    axis = alt.Axis(labelLimit=320, domain=False, ticks=False, grid=False, labelColor=INK)
    y = alt.Y("function:N", sort=order, title=None, axis=axis)
    base = alt.Chart(frame)
    chart = alt.layer(
        base.mark_rule(color=SOFT, strokeWidth=1.2).encode(
            y=y, x="min(share):Q", x2="max(share):Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=y,
            x=alt.X("share:Q", title="share of CPU time, %", axis=alt.Axis(grid=True, tickCount=8)),
            **by_kernel(view.kernels, view.label, [profile.kernel for profile in profiles]),
        ),
    ).properties(width=WIDTH - 250, height=alt.Step(21))
    threads = threads_text(profiles[0].nr_threads)
    return Figure(
        "profile",
        f"What changed in the profile, {threads}",
        "Share of all CPU time that was not idle, spent in the function itself, mean over boots. "
        "The line is the way from one kernel to the other.",
        "; ".join(
            f"{name}: "
            + ", ".join(
                f"{share * 100:.1f} % on {profile.kernel}"
                for profile, share in zip(profiles, shares, strict=True)
            )
            for name, shares in rows
        ),
        draw(chart),
    )
