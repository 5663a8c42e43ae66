"""Makes comparisons within a run and across two runs."""

from dataclasses import replace

import pandas as pd

from harness.analysis.compare import Comparison, compare
from harness.analysis.statistics import SMALLEST_EFFECT
from harness.errors import InputError
from harness.records import RunRecord
from harness.report.collect import compare_run, conditions_of
from harness.store.store import Store
from harness.verdict import Verdict


def compare_kernels(
    store: Store, run_id: str, smallest: float | None = None
) -> dict[str, Comparison]:
    """Return title -> comparison of a run's kernels with its baseline.

    `smallest`: the smallest effect to report; None: that of the playbook. Raises InputError if the
    baseline has no boots.
    """
    run = _with_smallest(store.load_run(run_id), smallest)
    boots = store.boots_frame(run_id)
    found = compare_run(run, store.samples_frame(run_id), boots, store.boots(run_id))
    if found is None:
        raise InputError(f"comparing {run_id}: {run.plan['baseline']} has not been booted yet")
    return {f"{run_id}: against {run.plan['baseline']}": found}


def compare_runs(
    store: Store, before_id: str, after_id: str, smallest: float | None = None
) -> dict[str, Comparison]:
    """Return title -> comparison of the second run with the first, for each common kernel.

    Each run is a session, so a kernel is compared by its ratio to the common baseline; without one
    there is no verdict. The title says if kernel or host differ. Raises InputError if the runs have
    no kernel in common.
    """
    before, after = _with_smallest(store.load_run(before_id), smallest), store.load_run(after_id)
    if before_id == after_id:
        raise InputError(f"comparing runs: {before_id} given twice, expected two different runs")
    boots = store.boots_frame([before_id, after_id])
    samples = store.samples_frame([before_id, after_id])
    conditions = conditions_of({run: store.boots(run) for run in (before_id, after_id)})
    runs_of = boots.groupby("kernel", observed=True)["run_id"].nunique()
    common = sorted(str(kernel) for kernel in runs_of[runs_of == 2].index)
    if not common:
        raise InputError(f"comparing runs: {before_id} and {after_id} have no kernel in common")
    baselines = {run.plan.get("baseline") for run in (before, after)}
    baseline = str(baselines.pop()) if len(baselines) == 1 else ""
    passed = boots[boots["verdict"] == Verdict.PASSED.value]
    found = {}
    for kernel in common:
        held = baseline in common and kernel != baseline
        title = _title(kernel, before, after)
        compared = compare(
            _by_run(samples, kernel),
            _by_run(boots, kernel),
            before_id,
            seed=before.plan["seed"],
            conditions=conditions,
            smallest=before.plan.get("smallest_effect", SMALLEST_EFFECT),
            blocks=all(run.plan.get("design") == "blocks" for run in (before, after)),
            references=(_by_run(samples, baseline), _by_run(passed, baseline)) if held else None,
            unjudged="" if held else _ONE_SESSION,
        )
        note = _HELD.format(kernel=kernel, baseline=baseline) if held else _NOT_HELD
        found[title] = replace(compared, notes=(note, *compared.notes))
    return found


def _with_smallest(run: RunRecord, smallest: float | None) -> RunRecord:
    return run if smallest is None else replace(run, plan={**run.plan, "smallest_effect": smallest})


_ONE_SESSION = "each run is one session: the spread between sessions cannot be estimated from two"
_HELD = (
    "Sessions differ with nothing changed, so this compares how {kernel} stands against {baseline} "
    "in each of the two runs."
)
_NOT_HELD = (
    "No verdict: sessions differ with nothing changed, by more than the boots of one of them show. "
    "To compare across time, run both kernels in one playbook, or a baseline beside each."
)


def _by_run(frame: pd.DataFrame, kernel: str) -> pd.DataFrame:
    """Return the rows of a kernel, with the run's id as the kernel's name."""
    rows = frame[frame["kernel"] == kernel]
    return rows.assign(kernel=rows["run_id"].cat.remove_unused_categories())


def _title(kernel: str, before: RunRecord, after: RunRecord) -> str:
    keys = [run.kernels.get(kernel, {}).get("key") for run in (before, after)]
    remarks = ["" if keys[0] == keys[1] else " (built differently in the two runs)"]
    remarks += ["" if before.host == after.host else " (measured on different hosts)"]
    return f"{kernel}: {after.id} against {before.id}{''.join(remarks)}"
