"""What the page and the texts say, worked out from a run as plain values; no markup here."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pandas as pd

from harness.analysis.compare import WHOLE_LOAD, Comparison, Metric, Word
from harness.analysis.statistics import jain_index
from harness.report.collect import RunReport
from harness.verdict import Verdict

NOTHING = "\N{EN DASH}"  # stands where there is no value
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
    def comparable(self) -> bool:
        """Whether there is a ratio at all."""
        return math.isfinite(self.ratio) and math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Throughput:
    """One case on one kernel at one size. Times are of one whole pass of `loops` loops.

    `spread`: coefficient of variation between boots; `fairness`: Jain's index over workers, mean
    over boots; both missing (NaN) where there is only one.
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
    per_s: float
    spread: float
    fairness: float
    slowest_over_fastest: float


@dataclass(frozen=True)
class Light:
    """One thing that must hold for the figures to stand. `state`: ok, warn or fail."""

    name: str
    state: str
    words: str


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
    def kernels(self) -> list[str]:
        """Every kernel of the playbook, the baseline first."""
        others = [name for name in self.plan["kernels"] if name != self.baseline]
        return [self.baseline, *others]

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
        return effects_of(self.report.comparison)

    @cached_property
    def main_effects(self) -> list[Effect]:
        """The rows that the first screen shows: the whole load, and each case's mean worker."""
        return [e for e in self.effects if e.metric != Metric.MAX and e.comparable]

    @cached_property
    def throughputs(self) -> list[Throughput]:
        """Every case on every kernel at every size."""
        return list(_throughputs(self.measured))

    @cached_property
    def sizes(self) -> list[tuple[str, int, int]]:
        """The distinct (workload, cpus, nr_threads) that were measured."""
        return sorted({(t.workload, t.cpus, t.nr_threads) for t in self.throughputs})

    @property
    def verdict_sentence(self) -> str:
        """The answer in words, one or two sentences."""
        return verdict_sentence(self.main_effects, len(self.sizes) > 1)

    @cached_property
    def lights(self) -> list[Light]:
        """What must hold for the figures to stand."""
        return [
            _completeness_light(self),
            _verdict_light(self),
            _noise_light(self),
            _config_light(self),
            _machine_light(self),
        ]


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
        effects, key=lambda e: (e.workload, e.cpus, e.nr_threads, order.get(e.case, 1), e.metric)
    )


def _throughputs(measured: pd.DataFrame) -> Iterator[Throughput]:
    if measured.empty:
        return
    cells = measured.groupby([*_KEY, "boot"], observed=True, sort=False)
    boots = cells.agg(
        avg_us=("avg_us", "mean"),
        fastest=("avg_us", "min"),
        slowest=("avg_us", "max"),
        loops=("loops", "first"),
        repeat=("repeat", "first"),
        fairness=("avg_us", lambda us: jain_index(1 / np.maximum(us.to_numpy(float), 1))),
    ).reset_index()
    for key, group in boots.groupby(_KEY, observed=True, sort=False):
        workload, cpus, threads, case, kernel = cast("tuple[str, int, int, str, str]", key)
        avg_us = float(np.exp(np.log(group["avg_us"].clip(lower=1)).mean()))
        loops = int(group["loops"].iloc[0])
        yield Throughput(
            workload=str(workload),
            cpus=int(cpus),
            nr_threads=int(threads),
            case=str(case),
            kernel=str(kernel),
            loops=loops,
            repeat=int(group["repeat"].iloc[0]),
            boots=len(group),
            avg_us=avg_us,
            per_s=int(threads) * loops * 1e6 / avg_us,
            spread=float(group["avg_us"].std() / group["avg_us"].mean()),
            fairness=float(group["fairness"].mean()) if threads > 1 else math.nan,
            slowest_over_fastest=float((group["slowest"] / group["fastest"].clip(lower=1)).max()),
        )


def verdict_sentence(effects: Sequence[Effect], several_sizes: bool) -> str:
    """Return the answer in words: the largest difference, and how many cases show none."""
    if not effects:
        return "Nothing can be compared: too few boots of both kernels passed."
    shown = [effect for effect in effects if effect.shown]
    what = "comparison" if several_sizes else "case"
    if not shown:
        return _nothing_shown(effects, what)
    most = max(effect.nr_threads for effect in shown)
    at_most = [effect for effect in shown if effect.nr_threads == most]
    cases = [effect for effect in at_most if effect.case != WHOLE_LOAD] or at_most
    top = max(cases, key=lambda effect: abs(math.log(effect.ratio)))
    words = (
        f"{top.kernel} is {speed_words(top.ratio)} than {top.baseline} on {short_case(top.case)} "
        f"at {threads_words(top.nr_threads)} (95 % interval {interval_words(top)})"
    )
    rest = rest_words([e for e in effects if e.case != WHOLE_LOAD], what)
    return f"{words}; {rest}." if rest else f"{words}."


def _nothing_shown(effects: Sequence[Effect], what: str) -> str:
    first = effects[0]
    cases = [effect for effect in effects if effect.case != WHOLE_LOAD]
    count = f"in any of {len(cases)} {what}s" if len(cases) > 1 else "over the whole load"
    words = f"No difference shown between {first.kernel} and {first.baseline} {count}"
    noisy = sum(effect.word == Word.TOO_NOISY for effect in cases)
    limits = [effect.detectable for effect in effects if math.isfinite(effect.detectable)]
    if noisy:
        every = "all" if noisy == len(cases) else f"{noisy}"
        return f"{words}; {every} of them too noisy to tell."
    return (
        f"{words}; a change of {max(limits):.1%} would have been seen." if limits else f"{words}."
    )


def rest_words(effects: Sequence[Effect], what: str) -> str:
    """Return "of 3 cases: 2 faster, 1 with no difference shown"; empty for a single one."""
    if len(effects) < 2:
        return ""
    phrases = {
        Word.FASTER: "faster",
        Word.SLOWER: "slower",
        Word.NO_DIFFERENCE: "with no difference shown",
        Word.TOO_NOISY: "too noisy to tell",
        Word.NOT_COMPARABLE: "not comparable",
    }
    counts = {word: sum(effect.word == word for effect in effects) for word in phrases}
    parts = [f"{count} {phrases[word]}" for word, count in counts.items() if count]
    return f"of {len(effects)} {what}s: " + ", ".join(parts)


def speed_words(ratio: float) -> str:
    """Return "8.3x faster", "4 % faster" or the same with slower, for a ratio of times."""
    word, factor = (Word.FASTER, ratio) if ratio >= 1 else (Word.SLOWER, 1 / ratio)
    if factor < 1.1:
        return f"{(factor - 1) * 100:.1f} % {word}"
    return f"{number(factor)}x {word}"


def interval_words(effect: Effect) -> str:
    """Return the interval in the same direction and unit as `speed_words`."""
    ends = (effect.low, effect.high) if effect.ratio >= 1 else (1 / effect.high, 1 / effect.low)
    if max(effect.ratio, 1 / effect.ratio) < 1.1:
        low, high = ((end - 1) * 100 for end in ends)
        return f"{low:.1f} to {high:.1f} %"
    return f"{number(ends[0])} to {number(ends[1])}"


def number(value: float) -> str:
    """Return a ratio with three figures that matter."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2f}"


def threads_words(count: int) -> str:
    """Return "1 thread" or "64 threads"."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def short_case(case: str) -> str:
    """Return a case's name without the ending that all of them have."""
    return case.removesuffix("_test")


def _completeness_light(view: View) -> Light:
    final = list(view.report.verdicts.values())
    measured = sum(verdict is Verdict.PASSED for verdict in final)
    words = f"{measured} of {len(final)} planned boots measured"
    return Light("Complete", "ok" if measured == len(final) else "fail", words)


def _verdict_light(view: View) -> Light:
    bad = [boot for boot in view.report.boots if boot.verdict.bad]
    if not bad:
        return Light("Kernel log", "ok", "no boot crashed, hung, warned or failed a case")
    kinds = sorted({boot.verdict.value for boot in bad})
    return Light("Kernel log", "fail", f"{len(bad)} boots discarded: {', '.join(kinds)}")


def _noise_light(view: View) -> Light:
    noisy = sum(boot.verdict is Verdict.NOISY for boot in view.report.boots)
    lost = sum(verdict is Verdict.NOISY for verdict in view.report.verdicts.values())
    if lost:
        return Light("Noise gate", "fail", f"{lost} planned boots never had a quiet host")
    if noisy:
        return Light("Noise gate", "warn", f"{noisy} boots were disturbed and repeated")
    return Light("Noise gate", "ok", "every boot within the limits for other load, steal, heat")


def _config_light(view: View) -> Light:
    differing = config_differences(view)
    if not differing:
        return Light("Same config", "ok", "the symbols that change the measurement agree")
    return Light("Same config", "warn", f"differ, allowed by name: {', '.join(differing)}")


def config_differences(view: View) -> dict[str, dict[str, Any]]:
    """Return critical symbols in which the kernels differ: symbol -> kernel -> value."""
    facts = {name: dict(k.get("critical") or {}) for name, k in view.report.run.kernels.items()}
    symbols = sorted({symbol for critical in facts.values() for symbol in critical})
    rows = {s: {name: critical.get(s) for name, critical in facts.items()} for s in symbols}
    return {s: row for s, row in rows.items() if len({str(v) for v in row.values()}) > 1}


def _machine_light(view: View) -> Light:
    if view.simulated:
        return Light("Machine", "warn", f"virtual time, model {view.simulated}")
    cores = int(view.report.run.host.get("cores") or 0)
    cpus = max((job.cpus for job in view.report.jobs), default=0)
    kind = view.plan["target"]["kind"]
    if kind == "qemu" and cpus > cores:
        words = f"{cpus} vCPUs on {cores} cores: times do not stand for a real machine of that size"
        return Light("Machine", "fail", words)
    if kind == "qemu" and _accelerators(view) != {"kvm"}:
        words = f"{cpus} vCPUs on {cores} cores, instructions emulated (TCG): no native times"
        return Light("Machine", "warn", words)
    return Light("Machine", "ok", f"{cpus} CPUs, a core for each")


def _accelerators(view: View) -> set[str]:
    machines = (boot.facts.get("machine") or {} for boot in view.report.boots)
    return {str(machine["accelerator"]) for machine in machines if machine.get("accelerator")}
