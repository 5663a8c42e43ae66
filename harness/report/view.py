"""Derives the values that pages and texts show of a run, without markup."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from harness.analysis.judging import Word
from harness.analysis.statistics import SMALLEST_EFFECT
from harness.analysis.times import WHOLE_LOAD
from harness.analysis.wording import base_workload, sweep_parameters
from harness.report.collect import RunReport, kernel_label
from harness.report.rows import Effect, Throughput, effects_of, throughputs_of
from harness.verdict import Verdict


@dataclass(frozen=True)
class View:
    """The values derived from a run, computed on first use."""

    report: RunReport

    @property
    def plan(self) -> Mapping[str, Any]:
        """The validated playbook of the run."""
        return self.report.run.plan

    @property
    def baseline(self) -> str:
        """The kernel that the others are compared with."""
        return str(self.plan["baseline"])

    @property
    def smallest_effect(self) -> float:
        """The smallest difference that is called faster or slower, as a fraction."""
        return float(self.plan.get("smallest_effect", SMALLEST_EFFECT))

    @property
    def kernels(self) -> list[str]:
        """All kernels of the playbook, baseline first."""
        others = [name for name in self.plan["kernels"] if name != self.baseline]
        return [self.baseline, *others]

    def label(self, kernel: str) -> str:
        """Return the displayed name of a kernel."""
        return kernel_label(self.report.run, kernel)

    @property
    def simulated(self) -> str | None:
        """The machine model of a simulated machine; None for real and QEMU machines."""
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
        """All rows of the comparison, by size, with the whole load before its cases."""
        return effects_of(self.report.comparison) if self.report.comparison else []

    @cached_property
    def main_effects(self) -> list[Effect]:
        """The rows on the first screen: the whole load, and the worker mean of each case."""
        return [e for e in self.effects if not e.secondary and e.comparable]

    @cached_property
    def shown_effects(self) -> list[Effect]:
        """The rows of the page's table, without the slowest worker if there is only one worker."""
        return [e for e in self.effects if not (e.secondary and e.nr_threads == 1)]

    @cached_property
    def throughputs(self) -> list[Throughput]:
        """The throughput of each case on each kernel at each size."""
        boots = self.report.boots_frame
        passed = boots[boots["verdict"] == Verdict.PASSED.value]
        order = {kernel: place for place, kernel in enumerate(self.kernels)}
        rows = throughputs_of(self.measured, passed)
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
        """Those of kernel, workload, cpus and nr_threads that differ between rows."""
        workloads = {
            (base_workload(workload), *sweep_parameters(workload)) for workload, _, _ in self.sizes
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
        """Whether all sizes have as many workers as CPUs, so that one column suffices."""
        return all(cpus == threads for _, cpus, threads in self.sizes)

    @cached_property
    def most_threads(self) -> int:
        """The largest measured number of threads."""
        return max((threads for _, _, threads in self.sizes), default=0)

    def at_largest(self, effect: Effect) -> bool:
        """Return whether a row is of the largest size, by threads, then CPUs."""
        largest = max(self.main_effects, key=lambda e: (e.nr_threads, e.cpus), default=effect)
        return (effect.nr_threads, effect.cpus) == (largest.nr_threads, largest.cpus)

    @cached_property
    def reported_nodes(self) -> dict[tuple[str, int, int], int]:
        """The number of vmap nodes that kernels reported, by (kernel, CPUs, threads)."""
        job_of = self.report.job_of
        found = [
            (job_of[boot.position], boot.facts.get("vmap_nodes")) for boot in self.report.boots
        ]
        return {(job.kernel, job.cpus, job.nr_threads): int(nodes) for job, nodes in found if nodes}

    @property
    def nodes_of_kernel(self) -> dict[str, int]:
        """The number of vmap nodes that each kernel reported with the most threads."""
        return {
            kernel: nodes
            for (kernel, _, threads), nodes in self.reported_nodes.items()
            if threads == self.most_threads
        }

    @property
    def verdict_sentence(self) -> str:
        """The answer as a sentence, the same in all outputs."""
        return self.report.answer

    @property
    def shows_slower(self) -> bool:
        """Whether any row shows a kernel that is slower than the baseline."""
        return any(effect.word == Word.SLOWER for effect in self.main_effects)

    @property
    def remarks(self) -> list[str]:
        """The distinct notes of the rows of the comparison."""
        return list(dict.fromkeys(effect.note for effect in self.effects if effect.note))

    @property
    def kernel_descriptions(self) -> list[str]:
        """A line per kernel with its release, and with its summary if a label is displayed."""
        facts = self.report.run.kernels
        parts = []
        for name in self.kernels:
            known = facts.get(name, {})
            what = [
                known.get("release", "not built"),
                known.get("summary") if known.get("label") else "",
            ]
            parts.append(f"{self.label(name)} ({', '.join(filter(None, what))})")
        return parts
