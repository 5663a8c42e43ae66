"""The page's table of latencies of calls."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.report.view import View
from harness.testmod.latency import PERCENTILES


@dataclass(frozen=True)
class LatencyRow:
    """The latencies of a call. `times`: percentile -> (mean, half of the 95 % interval), in ns."""

    workload: str
    cpus: int
    nr_threads: int
    kernel: str
    case: str
    call: str
    times: Mapping[str, tuple[float, float]]
    boots: int


def latency_table(view: View) -> list[LatencyRow]:
    """Return a row for each kernel, size, case and timed call."""
    key = ["workload", "cpus", "nr_threads", "kernel", "case", "call"]
    rows = []
    for _, group in view.report.latency.groupby(key, sort=False):
        first = next(group.itertuples())
        reach = group["high"] - group["mean"]
        found = zip(group["percentile"], group["mean"], reach, strict=True)
        rows.append(
            LatencyRow(
                *(str(first.workload), int(str(first.cpus)), int(str(first.nr_threads))),
                *(str(first.kernel), str(first.case), str(first.call)),
                times={PERCENTILES[name]: (float(mean), float(half)) for name, mean, half in found},
                boots=int(group["boots"].min()),
            )
        )
    return rows


def cost_sentences(view: View) -> list[str]:
    """Return sentences on the cost of timing calls, or one that says that it is unknown."""
    if view.report.latency.empty:
        return []
    sentences = [
        f"{row.case} on {view.label(str(row.kernel))}, {row.workload}: with its calls timed "
        f"{float(str(row.change)):+.1%} time ({float(str(row.low)):+.1%} to "
        f"{float(str(row.high)):+.1%}), against {row.without}, which does not time them."
        for row in view.report.latency_cost.itertuples()
    ]
    unknown = (
        "The cost of timing the calls is unknown: no workload differs from these in time_calls "
        "only. A sweep of time_calls: [false, true] measures it."
    )
    return sentences or [unknown]
