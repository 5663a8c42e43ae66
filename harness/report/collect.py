"""Collects the data of a run for pages, texts and exports."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from harness.analysis.compare import Comparison, compare
from harness.analysis.latency import COST_COLUMNS, BootLatency, cost_rows, latency_rows
from harness.analysis.memory import BootMemory, memory_rows
from harness.analysis.statistics import SMALLEST_EFFECT
from harness.analysis.times import boot_times
from harness.analysis.wording import headline_row
from harness.records import BootRecord, RunRecord, StoredRun
from harness.report.explanation import explanation_document
from harness.store.store import Store
from harness.targets.explanation import BootAccount
from harness.text import one_line
from harness.verdict import Verdict


@dataclass(frozen=True)
class RunReport(StoredRun):
    """A run with its comparison. Frames as in `harness.analysis.frames`.

    `comparison`: None if the baseline has no boots yet. `explanations`: accounts of extra boots, by
    kernel, baseline first.
    """

    samples: pd.DataFrame
    boots_frame: pd.DataFrame
    comparison: Comparison | None
    explanations: Mapping[str, BootAccount] = field(default_factory=dict)

    @cached_property
    def memory(self) -> pd.DataFrame:
        """The readings of memory of the passed boots, as `harness.analysis.memory.memory_rows`."""
        return memory_rows(
            BootMemory(
                *(job.workload, job.cpus, job.nr_threads, job.kernel),
                boot.facts.get("memory") or (),
            )
            for job, boot in self.passed
        )

    @cached_property
    def latencies(self) -> Sequence[BootLatency]:
        """The latencies of calls in the passed boots."""
        return [
            BootLatency(
                *(job.workload, job.cpus, job.nr_threads, job.kernel, job.parameters),
                boot.facts.get("latency_ns") or (),
            )
            for job, boot in self.passed
        ]

    @cached_property
    def latency(self) -> pd.DataFrame:
        """The latencies over boots, as `harness.analysis.latency.latency_rows`."""
        return latency_rows(self.latencies)

    @cached_property
    def latency_cost(self) -> pd.DataFrame:
        """The cost of timing calls, as `harness.analysis.latency.cost_rows`."""
        if self.latency.empty:
            return pd.DataFrame(columns=COST_COLUMNS)
        frame = self.boots_frame
        passed = frame[frame["verdict"] == Verdict.PASSED.value]
        samples = self.samples[self.samples["boot"].isin(passed["boot"])]
        return cost_rows(self.latencies, boot_times(samples, passed))

    @property
    def answer(self) -> str:
        """The sentence that summarises the run."""
        if self.comparison is None:
            name = kernel_label(self.run, self.run.plan["baseline"])
            return f"Nothing can be compared: {name} has not been booted yet."
        return self.comparison.answer


def collect_report(store: Store, run_id: str) -> RunReport:
    """Return a run with its data and comparison. `run_id`: full id."""
    stored = store.stored_run(run_id)
    samples, boots = store.samples_frame(run_id), store.boots_frame(run_id)
    comparison = compare_run(stored.run, samples, boots, stored.boots)
    return RunReport(stored.run, stored.jobs, stored.boots, samples, boots, comparison)


def compare_run(
    run: RunRecord, samples: pd.DataFrame, boots: pd.DataFrame, records: Sequence[BootRecord]
) -> Comparison | None:
    """Return the comparison of a run's kernels; None if the baseline has no boots."""
    baseline = run.plan["baseline"]
    if baseline not in set(boots["kernel"]):
        return None
    conditions = conditions_of({run.id: records})
    found = compare(
        samples,
        boots,
        baseline,
        seed=run.plan["seed"],
        conditions=conditions,
        smallest=run.plan.get("smallest_effect", SMALLEST_EFFECT),
        blocks=run.plan.get("design") == "blocks",
        label=functools.partial(kernel_label, run),
    )
    return replace(found, notes=(*found.notes, *_machine_notes(records)))


def kernel_label(run: RunRecord, kernel: str) -> str:
    """Return the displayed name of a kernel: its label, or its name if the run's labels are not
    unique.
    """
    names = run.plan.get("kernels") or list(run.kernels)
    labels = {name: str(run.kernels.get(name, {}).get("label") or name) for name in names}
    clear = len(set(labels.values())) == len(labels)
    return one_line(labels.get(kernel, kernel) if clear else kernel, 40)


def conditions_of(runs: Mapping[str, Sequence[BootRecord]]) -> dict[tuple[str, int], Any]:
    """Return (run id, boot) -> facts that must be equal for boots to be comparable."""
    return {
        (run_id, number): boot.facts["conditions"]
        for run_id, boots in runs.items()
        for number, boot in enumerate(boots)
        if boot.facts.get("conditions")
    }


def _machine_notes(records: Sequence[BootRecord]) -> list[str]:
    """Return a sentence on changes of the lab host since its last use, if there are any."""
    changes = {line: None for boot in records for line in boot.facts.get("inventory_changes") or ()}
    return (
        [f"The host has changed since it was last used: {'; '.join(changes)}."] if changes else []
    )


def as_document(report: RunReport) -> dict[str, Any]:
    """Return the report as JSON values; the format is in docs/howto/exports.md."""
    run = asdict(report.run)
    run["kernels"] = {name: dict(facts) for name, facts in report.run.kernels.items()}
    return {
        "version": 1,
        "run": run,
        "verdict": report.verdict.value,
        "headline": _headline(report),
        "comparison": comparison_document(report.comparison),
        "memory": _records(report.memory),
        "explanation": explanation_document(report.explanations, report.boots_frame),
        "latency": {"rows": _records(report.latency), "cost": _records(report.latency_cost)},
        "boots": [
            {**asdict(boot), "verdict": boot.verdict.value, "samples": None}
            for boot in report.boots
        ],
    }


def _records(frame: pd.DataFrame) -> Any:
    return json.loads(frame.to_json(orient="records"))


def _headline(report: RunReport) -> dict[str, Any]:
    """Return the answer, and the ratio of the first candidate in it."""
    found = report.comparison
    row = headline_row(found.rows, found.candidates[0]) if found and found.candidates else None
    ratio = math.nan if row is None else float(row.ratio)
    return {"sentence": report.answer, "ratio": ratio if math.isfinite(ratio) else None}


def comparison_document(comparison: Comparison | None) -> dict[str, Any] | None:
    """Return the comparison as JSON values; missing values are null."""
    if comparison is None:
        return None
    return {
        "baseline": comparison.baseline,
        "candidates": list(comparison.candidates),
        "answer": comparison.answer,
        "notes": list(comparison.notes),
        "rows": json.loads(comparison.rows.to_json(orient="records")),
        "excluded": json.loads(comparison.excluded.to_json(orient="records")),
    }
