"""What the page and the texts say, worked out from a run as plain values; no markup here."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.compare import Comparison
from harness.analysis.judging import Word
from harness.analysis.statistics import SMALLEST_EFFECT
from harness.analysis.times import WHOLE_LOAD, Metric, boot_times
from harness.analysis.wording import NOTHING
from harness.report.collect import RunReport, kernel_label
from harness.verdict import Verdict

POINT = ["workload", "cpus", "nr_threads"]  # one size of one workload
_KEY = [*POINT, "case", "kernel"]


@dataclass(frozen=True)
class Effect:
    """One row of a comparison, see `harness.analysis.compare.Comparison`.

    `ratio`: baseline time over the kernel's, NaN where nothing can be compared. `detectable`: the
    smallest speed-up, as a fraction, that these boots would have shown. `word` is the judgement.
    """

    workload: str
    cpus: int
    nr_threads: int
    case: str
    kernel: str
    baseline: str
    ratio: float
    low: float
    high: float
    p: float
    p_adjusted: float
    detectable: float
    boots: int
    boots_baseline: int
    metric: str
    word: str
    note: str

    @property
    def shown(self) -> bool:
        """Whether a difference is shown; nothing else may be coloured."""
        return self.word in (Word.FASTER, Word.SLOWER)

    @property
    def secondary(self) -> bool:
        """Whether the row is of interest only beside that of the mean worker."""
        return self.metric == Metric.MAX

    @property
    def comparable(self) -> bool:
        """Whether there is a ratio at all."""
        return math.isfinite(self.ratio) and math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Throughput:
    """One case on one kernel at one size; NaN where a figure needs more boots or does not apply.

    `avg_us`: one pass of `loops` loops, mean over workers, geometric mean over boots. `per_s`:
    threads x loops / that time, with its 95 % interval over boots. `spread`: coefficient of
    variation between boots. `fairness`: Jain's index over workers, mean over boots.
    `slowest_us`: the slowest worker's pass, geometric mean over boots.
    """

    workload: str
    cpus: int
    nr_threads: int
    case: str
    kernel: str
    loops: int
    repeat: int
    boots: int
    avg_us: float
    slowest_us: float
    per_s: float
    per_s_low: float
    per_s_high: float
    spread: float
    fairness: float


@dataclass(frozen=True)
class View:
    """A run as the page shows it."""

    report: RunReport

    @property
    def plan(self) -> Mapping[str, Any]:
        """The validated playbook."""
        return self.report.run.plan

    @property
    def baseline(self) -> str:
        """The kernel that the others are held against."""
        return str(self.plan["baseline"])

    @property
    def smallest_effect(self) -> float:
        """The smallest difference that is called faster or slower, as a fraction."""
        return float(self.plan.get("smallest_effect", SMALLEST_EFFECT))

    @property
    def kernels(self) -> list[str]:
        """Every kernel of the playbook, the baseline first."""
        others = [name for name in self.plan["kernels"] if name != self.baseline]
        return [self.baseline, *others]

    def label(self, kernel: str) -> str:
        """Return what tables and pages call a kernel."""
        return kernel_label(self.report.run, kernel)

    @property
    def simulated(self) -> str | None:
        """The cost model of a simulated machine, or None on a real or an ordinary virtual one."""
        target = self.plan["target"]
        return str(target["machine"]) if target["kind"] == "simulated" else None

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The samples of the boots that passed."""
        boots = self.report.boots_frame
        passed = boots.loc[boots["verdict"] == Verdict.PASSED.value, "boot"]
        samples = self.report.samples
        return samples[samples["boot"].isin(passed)]

    @cached_property
    def effects(self) -> list[Effect]:
        """Every row of the comparison, small machines first, the whole load before its cases."""
        return effects_of(self.report.comparison) if self.report.comparison else []

    @cached_property
    def main_effects(self) -> list[Effect]:
        """The rows that the first screen shows: the whole load, and each case's mean worker."""
        return [e for e in self.effects if not e.secondary and e.comparable]

    @cached_property
    def shown_effects(self) -> list[Effect]:
        """The rows of the page's table: of a single worker the slowest one is left out."""
        return [e for e in self.effects if not (e.secondary and e.nr_threads == 1)]

    @cached_property
    def throughputs(self) -> list[Throughput]:
        """Every case on every kernel at every size."""
        boots = self.report.boots_frame
        passed = boots[boots["verdict"] == Verdict.PASSED.value]
        order = {kernel: place for place, kernel in enumerate(self.kernels)}
        rows = _throughputs(self.measured, passed)
        return sorted(
            rows,
            key=lambda r: (base_workload(r.workload), r.nr_threads, r.cpus, r.workload,
                           r.case != WHOLE_LOAD, r.case, order.get(r.kernel, 99)),
        )  # fmt: skip

    @cached_property
    def sizes(self) -> list[tuple[str, int, int]]:
        """The distinct (workload, cpus, nr_threads) that were measured."""
        return sorted({(t.workload, t.cpus, t.nr_threads) for t in self.throughputs})

    @cached_property
    def varying(self) -> set[str]:
        """Which columns tell rows apart: of kernel, workload, cpus, nr_threads."""
        workloads = {
            (base_workload(workload), *parameter_words(workload)) for workload, _, _ in self.sizes
        }
        values = {
            "kernel": self.kernels[1:],
            "workload": workloads,
            "cpus": {cpus for _, cpus, _ in self.sizes},
            "nr_threads": {threads for _, _, threads in self.sizes},
        }
        varying = {name for name, found in values.items() if len(found) > 1}
        return varying - {"cpus"} if self.worker_on_each_cpu else varying

    @cached_property
    def worker_on_each_cpu(self) -> bool:
        """Whether there were as many workers as CPUs in every size, so that one column tells."""
        return all(cpus == threads for _, cpus, threads in self.sizes)

    @cached_property
    def most_threads(self) -> int:
        """The largest thread count that was measured."""
        return max((threads for _, _, threads in self.sizes), default=0)

    def at_largest(self, effect: Effect) -> bool:
        """Whether a row belongs to the largest size; size is threads, then CPUs."""
        largest = max(self.main_effects, key=lambda e: (e.nr_threads, e.cpus), default=effect)
        return (effect.nr_threads, effect.cpus) == (largest.nr_threads, largest.cpus)

    @cached_property
    def reported_nodes(self) -> dict[tuple[str, int, int], int]:
        """How many vmap nodes a kernel reported, by kernel, CPUs and threads, where it told."""
        job_of = {job.position: job for job in self.report.jobs}
        told = [(job_of[boot.position], boot.facts.get("vmap_nodes")) for boot in self.report.boots]
        return {(job.kernel, job.cpus, job.nr_threads): int(nodes) for job, nodes in told if nodes}

    @property
    def nodes_of_kernel(self) -> dict[str, int]:
        """How many vmap nodes each kernel reported with the most threads, where it told."""
        return {
            kernel: nodes
            for (kernel, _, threads), nodes in self.reported_nodes.items()
            if threads == self.most_threads
        }

    @property
    def verdict_sentence(self) -> str:
        """The answer in words: the same wherever this run is spoken of."""
        return self.report.answer

    @property
    def shows_slower(self) -> bool:
        """Whether any row shows a kernel that is slower than the baseline."""
        return any(effect.word == Word.SLOWER for effect in self.main_effects)

    @property
    def remarks(self) -> list[str]:
        """What is to be said of single rows of the comparison, each remark once."""
        return list(dict.fromkeys(effect.note for effect in self.effects if effect.note))


def effects_of(comparison: Comparison) -> list[Effect]:
    """Return the comparison's rows as values."""
    renamed = {"candidate": "kernel", "boots_candidate": "boots"}
    table = comparison.rows.rename(columns=renamed).assign(baseline=comparison.baseline)
    names = list(Effect.__dataclass_fields__)
    effects = [
        Effect(**dict(zip(names, row, strict=True))) for row in table[names].itertuples(index=False)
    ]
    order = {WHOLE_LOAD: 0}
    return sorted(
        effects,
        key=lambda e: (
            base_workload(e.workload),
            e.nr_threads,
            e.cpus,
            e.workload,
            order.get(e.case, 1),
            e.metric == Metric.MAX,
            e.case,
            e.kernel,
        ),
    )


def _throughputs(measured: pd.DataFrame, passed: pd.DataFrame) -> Iterator[Throughput]:
    if passed.empty:
        return
    found = measured.groupby(["workload", "case"], observed=True)[["loops", "repeat"]].max()
    passes = {key: (loops, repeat) for key, loops, repeat in found.itertuples()}
    times = boot_times(measured, passed)
    slowest = times[times["metric"] == Metric.MAX].groupby(_KEY)["time_us"].agg(stats.gmean)
    for key, boots in times[times["metric"] != Metric.MAX].groupby(_KEY, sort=True):
        workload, cpus, threads, case, kernel = cast("tuple[str, int, int, str, str]", key)
        whole = case == WHOLE_LOAD
        loops, repeat = (0, 0) if whole else passes[workload, case]
        low, high = mean_interval(boots["throughput"].to_numpy(float))
        yield Throughput(
            workload=workload,
            cpus=int(cpus),
            nr_threads=int(threads),
            case=case,
            kernel=kernel,
            loops=int(loops),
            repeat=int(repeat),
            boots=len(boots),
            avg_us=float(stats.gmean(boots["time_us"])),
            slowest_us=math.nan if whole else float(slowest.loc[key]),
            per_s=float(stats.gmean(boots["throughput"])),
            per_s_low=low,
            per_s_high=high,
            spread=float(boots["time_us"].std() / boots["time_us"].mean()),
            fairness=float(boots["fairness"].mean()) if threads > 1 else math.nan,
        )


def mean_interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the 95 % interval of the geometric mean (Student's t on logarithms), NaN below 2."""
    if len(values) < 2 or not np.all(values > 0):
        return math.nan, math.nan
    logs = np.log(values)
    reach = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return float(np.exp(logs.mean() - reach)), float(np.exp(logs.mean() + reach))


def kernel_words(view: View) -> list[str]:
    """Return each kernel with its release, and with its summary where a label is shown."""
    facts = view.report.run.kernels
    words = []
    for name in view.kernels:
        known = facts.get(name, {})
        what = [
            known.get("release", "not built"),
            known.get("summary") if known.get("label") else "",
        ]
        words.append(f"{view.label(name)} ({', '.join(filter(None, what))})")
    return words


def aligned(value: float) -> str:
    """Return a ratio for a column: as many decimals as its neighbours."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def base_workload(workload: str) -> str:
    """Return a workload's name without the point of its sweep: "page" of "page[nr_threads=4]"."""
    return workload.split("[", maxsplit=1)[0]


def parameter_words(workload: str) -> list[str]:
    """Return the point of a sweep, without the thread count and CPUs that stand elsewhere."""
    points = workload.rstrip("]").partition("[")[2]
    return [p for p in points.split(",") if p and p.split("=")[0] not in ("nr_threads", "cpus")]


def series_name(workload: str) -> str:
    """Return what stays the same over sizes: a workload's name and its further parameters."""
    return " ".join([base_workload(workload), *parameter_words(workload)])
