"""Compares kernels by the samples of their boots. The boot is the unit of replication.

The workers of a boot share its kernel layout, memory layout and the state of the host, so they are
not independent and each boot is one value. docs/explanation/statistics.md explains all choices;
tests/flow/analysis/test_validation.py checks the error rates.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.frames import BOOTS, SAMPLES, typed
from harness.analysis.judging import judged
from harness.analysis.statistics import SMALLEST_EFFECT, Effects, compare_boots
from harness.analysis.times import CONDITION, ENDS_SHARE, WHOLE_LOAD, Metric, boot_times
from harness.analysis.wording import answer
from harness.errors import InputError
from harness.verdict import Verdict

Conditions = Mapping[tuple[str, int], Mapping[str, str]]
"""(run id, number of the boot) -> name -> value: facts of the machine and its tuning."""
NO_CONDITIONS: Conditions = MappingProxyType({})
_RESOLUTION_US = {WHOLE_LOAD: 0.001}  # of the load call; the module counts whole microseconds


@dataclass(frozen=True, eq=False)
class Comparison:
    """The comparison of candidates with a baseline.

    `rows`: one per workload, cpus, nr_threads, candidate, case and metric. Columns: those;
    `boots_*` (`*`: baseline, candidate); `time_us_*` (geometric mean over boots); `throughput_*`
    (operations per second of all workers, with the worker mean only); `fairness_*` (Jain's index
    over the workers' rates, mean over boots, for information only); `ratio`, `low`, `high`
    (baseline time / candidate time, above 1 is faster, and its 95 % interval); `p`, `p_alike`,
    `p_permutation`, `p_adjusted`, `detectable` (a fraction) as in `harness.analysis.statistics` and
    `.judging`; `shift_us` (candidate - baseline); `word` (a `Word`); `note`.
    `excluded`: numbers of boots that did not pass: kernel, workload, cpus, nr_threads, verdict,
    boots. `notes`: sentences on the comparison; `answer`: one sentence.
    """

    baseline: str
    candidates: tuple[str, ...]
    rows: pd.DataFrame
    excluded: pd.DataFrame
    notes: tuple[str, ...]
    answer: str


def compare(
    samples: pd.DataFrame,
    boots: pd.DataFrame,
    baseline: str,
    *,
    seed: int,
    conditions: Conditions = NO_CONDITIONS,
    smallest: float = SMALLEST_EFFECT,
    blocks: bool = False,
    references: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    unjudged: str = "",
    label: Callable[[str], str] = str,
) -> Comparison:
    """Compare every other kernel with `baseline`; frames as in `harness.analysis.frames`.

    `conditions`: facts that must be equal for both sides, where boots have them. `smallest`: the
    smallest effect to report, as a fraction. `blocks`: whether boots of the same block are paired,
    by the playbook's design. `references`: for sides that are sessions, samples and passed boots of
    a reference kernel in them under the same names; times are then divided by its times.
    `unjudged`: if set, the reason why no row gets a verdict. `label`: returns the name of a kernel
    in the answer. Only passed boots count. The result depends on the boots and `seed` only, not on
    the order of rows. Raises InputError if the baseline is unknown or a column is missing.
    """
    samples, boots = typed(samples, SAMPLES), typed(boots, BOOTS)
    kernels = sorted(boots["kernel"].astype(str).unique())
    if baseline not in kernels:
        raise InputError(
            f"comparing: baseline {baseline!r} has no boots; kernels with boots: "
            f"{', '.join(kernels) or '(none)'}"
        )
    candidates = tuple(kernel for kernel in kernels if kernel != baseline)
    passed = boots[boots["verdict"] == Verdict.PASSED.value]
    times = boot_times(samples, passed)
    times["condition"] = _condition_keys(times, conditions)
    rows = _rows(
        times,
        baseline,
        candidates,
        None if references is None else boot_times(*references),
        unjudged,
    )
    rows = _with_effects(rows, np.random.default_rng(seed), smallest, blocks)
    rows = judged(_without_unlike_loads(rows))
    return Comparison(
        baseline=baseline,
        candidates=candidates,
        rows=rows,
        excluded=_excluded(boots),
        notes=tuple(_notes(rows, passed, boots)),
        answer=answer(rows, baseline, candidates, smallest, label),
    )


def _rows(
    times: pd.DataFrame,
    baseline: str,
    candidates: tuple[str, ...],
    references: pd.DataFrame | None,
    unjudged: str,
) -> pd.DataFrame:
    """Return all rows without effects; `work`: times of both sides, then of their references."""
    sides, of_references = _sides(times), None if references is None else _sides(references)
    rows: list[dict[str, Any]] = []
    for key in sorted({key[:-1] for key in sides}, key=_by_number):
        for candidate in candidates:
            a, b = sides.get((*key, baseline)), sides.get((*key, candidate))
            if a is None and b is None:
                continue
            row = _described(key, candidate, a, b)
            row["work"] = [a, b]
            if of_references is not None:
                row["work"] += [of_references.get((*key, side)) for side in (baseline, candidate)]
            if not row["note"] and unjudged:
                row["note"] = unjudged
                row["ratio"] = row["time_us_baseline"] / row["time_us_candidate"]
            if not row["note"] and any(boots is None for boots in row["work"]):
                row["note"] = "the reference kernel did not run this in both sessions"
            rows.append(row)
    return pd.DataFrame(rows, columns=[*_DESCRIBED, "work", "ratio"])


def _by_number(key: tuple[Any, ...]) -> list[str]:
    """Return a sort key that compares numbers in texts by value: 4 pages before 16."""
    return [re.sub(r"\d+", lambda found: found[0].zfill(20), str(value)) for value in key]


def _sides(times: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    ordered = times.sort_values(["run_id", "boot"], kind="stable")
    return dict(iter(ordered.groupby([*CONDITION, "case", "metric", "kernel"])))


def _with_effects(
    rows: pd.DataFrame, rng: np.random.Generator, smallest: float, blocks: bool
) -> pd.DataFrame:
    """Return `rows` with the fields of `Effects`, computed together for equal numbers of boots.

    With blocks or references, `boots_*` counts blocks.
    """
    rows = rows.reset_index(drop=True)
    effects = pd.DataFrame(np.nan, index=rows.index, columns=[f.name for f in fields(Effects)])
    effects["ratio"] = rows.pop("ratio").astype("float64")
    arrays = {}
    for index, (work, note) in enumerate(zip(rows.pop("work"), rows["note"], strict=True)):
        if note:
            continue
        sides = _in_blocks(work) if blocks else [side["time_us"].to_numpy() for side in work]
        arrays[index] = sides
        for place, side in enumerate(("baseline", "candidate")):
            rows.loc[index, f"boots_{side}"] = min(map(len, sides[place::2]))
    for resolution, picked in _alike(rows, arrays):
        a_us, b_us, *references = (
            np.array([arrays[index][side] for index in picked])
            for side in range(len(arrays[picked[0]]))
        )
        found = compare_boots(
            a_us,
            b_us,
            rng,
            resolution,
            smallest=smallest,
            paired=blocks,
            references=(references[0], references[1]) if references else None,
        )
        for name in effects.columns:
            effects.loc[picked, name] = getattr(found, name)
    return rows.join(effects.rename(columns={"shift": "shift_us"}))


def _in_blocks(work: list[pd.DataFrame]) -> list[Any]:
    """Return the times of both sides, or of each side and its reference, per block.

    Blocks without boots of one of the two are left out; several boots are averaged.
    """
    half = len(work) // 2
    aligned: list[Any] = [None] * len(work)
    for place in range(half):
        one, other = (
            np.exp(np.log(side["time_us"]).groupby(side["block"]).mean())
            for side in (work[place], work[place + half])
        )
        common = one.index.intersection(other.index)
        aligned[place], aligned[place + half] = (
            one.loc[common].to_numpy(),
            other.loc[common].to_numpy(),
        )
    return aligned


_SIDES = [
    f"{what}_{side}"
    for what in ("boots", "time_us", "throughput", "fairness")
    for side in ("baseline", "candidate")
]
_DESCRIBED = [*CONDITION, "case", "metric", "candidate", *_SIDES, "note"]


def _described(
    key: tuple[Any, ...], candidate: str, a: pd.DataFrame | None, b: pd.DataFrame | None
) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip([*CONDITION, "case", "metric"], key, strict=True))
    row |= {"candidate": candidate, "note": ""}
    for side, boots in (("baseline", a), ("candidate", b)):
        row[f"boots_{side}"] = 0 if boots is None else len(boots)
        if boots is not None:
            row[f"time_us_{side}"] = float(stats.gmean(boots["time_us"]))
            row[f"throughput_{side}"] = float(stats.gmean(boots["throughput"]))
            row[f"fairness_{side}"] = float(boots["fairness"].mean())
    if a is None or b is None:
        row["note"] = f"only in {'the baseline' if b is None else 'the candidate'}"
    elif set(a["work"]) != set(b["work"]):
        row["note"] = "loops or repeats differ between the sides"
    elif unlike := {*a["condition"], *b["condition"]} - {""}:
        row["note"] = describe_conditions(tuple(sorted(unlike)))
    return row


def _condition_keys(times: pd.DataFrame, conditions: Conditions) -> list[str]:
    """Return the conditions of each row's boot as a text, for comparison."""
    texts = {boot: json.dumps(dict(rows), sort_keys=True) for boot, rows in conditions.items()}
    if not texts:
        return [""] * len(times)
    keys = zip(times["run_id"].astype(str), times["boot"].astype(int), strict=True)
    return [texts.get(key, "") for key in keys]


@functools.lru_cache(maxsize=256)
def describe_conditions(texts: tuple[str, ...]) -> str:
    """Return a text on the conditions that differ between boots; empty if none does.

    Facts that only some boots have, due to files of their kernel, are ignored.
    """
    values: dict[str, set[str]] = {}
    for text in texts:
        for name, value in json.loads(text).items():
            values.setdefault(name, set()).add(str(value))
    unlike = [
        f"{name}: {' or '.join(sorted(value or 'none' for value in found))}"
        for name, found in sorted(values.items())
        if len(found) > 1
    ]
    more = f" (and {len(unlike) - 3} more)" if len(unlike) > 3 else ""
    return f"the machine of the boots differs: {'; '.join(unlike[:3])}{more}" if unlike else ""


def _alike(
    rows: pd.DataFrame, arrays: Mapping[int, list[Any]]
) -> Iterator[tuple[float, list[int]]]:
    """Yield resolution and indices of rows that fit in one array: with equal numbers of boots."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, sides in arrays.items():
        counts = tuple(map(len, sides))
        if min(counts) > 1:
            groups.setdefault((*counts, rows.loc[index, "case"] == WHOLE_LOAD), []).append(index)
    for key, picked in sorted(groups.items()):
        yield _RESOLUTION_US[WHOLE_LOAD] if key[-1] else 1.0, picked


def _without_unlike_loads(rows: pd.DataFrame) -> pd.DataFrame:
    """Mark whole loads as not comparable if the sides ran different cases."""
    rows = rows.copy()
    unlike = rows[(rows["note"] != "") & (rows["case"] != WHOLE_LOAD)]
    keys = [*CONDITION, "candidate"]
    marked = set(unlike[keys].itertuples(index=False, name=None))
    other = pd.Series(
        [key in marked for key in rows[keys].itertuples(index=False, name=None)],
        index=rows.index,
        dtype=bool,
    )
    load = other & (rows["case"] == WHOLE_LOAD) & (rows["note"] == "")
    rows.loc[load, "note"] = "the sides ran different cases or passes"
    return rows


def _excluded(boots: pd.DataFrame) -> pd.DataFrame:
    left = boots[boots["verdict"] != Verdict.PASSED.value]
    keys = ["kernel", *CONDITION, "verdict"]
    return left.groupby(keys, observed=True).size().rename("boots").reset_index()


def _notes(rows: pd.DataFrame, passed: pd.DataFrame, boots: pd.DataFrame) -> Iterator[str]:
    if len(boots) > len(passed):
        yield f"{len(boots) - len(passed)} of {len(boots)} boots did not pass and do not count."
    single = rows[rows["note"].str.startswith("only in")]
    if len(single):
        cases = ", ".join(sorted(single["case"].unique()))
        yield f"The sides have different cases: only common ones are compared, not {cases}."
    if (rows["metric"] == Metric.LAST).any():
        yield (
            "The whole load ends here with the last worker's test: ending the workers, 10 ms each,"
            f" is more than {ENDS_SHARE:.0%} of the load call."
        )
    if (rows["note"] == "loops or repeats differ between the sides").any():
        yield "Where loops or repeats differ between the sides, nothing is compared."
