"""How pages and texts name workloads and print ratios. Strings in, strings out."""

import math

from harness.analysis.wording import NOTHING


def format_ratio(value: float) -> str:
    """Return a ratio for a column: as many decimals as its neighbours."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def base_workload(workload: str) -> str:
    """Return a workload's name without the point of its sweep: "page" of "page[nr_threads=4]"."""
    return workload.split("[", maxsplit=1)[0]


def sweep_parameters(workload: str) -> list[str]:
    """Return the point of a sweep, without the thread count and CPUs that stand elsewhere."""
    points = workload.rstrip("]").partition("[")[2]
    return [p for p in points.split(",") if p and p.split("=")[0] not in ("nr_threads", "cpus")]


def series_name(workload: str) -> str:
    """Return what stays the same over sizes: a workload's name and its further parameters."""
    return " ".join([base_workload(workload), *sweep_parameters(workload)])
