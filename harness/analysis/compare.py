"""Compares kernels from the samples of their boots. The boot is the unit of replication.

Workers of one boot share a kernel layout, a memory layout and a host's mood: each boot counts once.
docs/explanation/statistics.md explains every choice; tests/flow/analysis/test_validation.py holds
its rates.
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
"""(run id, number of the boot) -> name -> value: the machine, and how it was tuned."""
NO_CONDITIONS: Conditions = MappingProxyType({})
_RESOLUTION_US = {WHOLE_LOAD: 0.001}  # the module counts whole microseconds, the load nanoseconds


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the boots show.

    `rows`: one per workload, cpus, nr_threads, candidate, case and metric. Columns: those;
    `boots_*` (`*`: baseline, candidate); `time_us_*` (geometric mean over boots);
    `throughput_*` (operations a second of all workers; with the worker mean only);
    `fairness_*` (Jain's index over the
    workers' rates, mean over boots; description only); `ratio` with `low` and `high` (baseline
    time / candidate time, above 1 is faster; 95 %); `p`, `p_alike`, `p_permutation`, `p_adjusted`,
    `detectable` (a fraction) as in `harness.analysis.statistics` and `.judging`; `shift_us`
    (candidate - baseline); `word` (a `Word`); `note`.
    `excluded`: boots that do not count: kernel, workload, cpus, nr_threads, verdict, boots.
    `notes`: sentences about the whole; `answer`: one sentence.
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

    `conditions`: what must be alike between the boots of a pair, for boots that tell.
    `smallest`: the smallest effect to report, as a fraction. `blocks`: the boots of one block
    are a pair, by the playbook's design. `references`: samples and passed boots of another kernel
    under the same names, for sides that are sessions: then the ratio is of each side to its
    reference. `unjudged`: why no row may get a verdict. `label`: what a kernel is called in the
    answer. Only boots whose verdict is `passed` count. The result depends on the boots and `seed`
    alone, not on the order of rows.
    Raises InputError for an unknown baseline or a missing column.
    """
    samples, boots = typed(samples, SAMPLES), typed(boots, BOOTS)
    kernels = sorted(boots["kernel"].astype(str).unique())
    if baseline not in kernels:
        raise InputError(
            f"comparing: baseline {baseline!r} has no boots; kernels with boots: "
            f"{', '.join(kernels) or 'none'}"
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
    """Return all rows without effects; `work`: boots of both sides, then of their references."""
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
                row["note"] = "the kernel that both are held against did not run this in both"
            rows.append(row)
    return pd.DataFrame(rows, columns=[*_DESCRIBED, "work", "ratio"])


def _by_number(key: tuple[Any, ...]) -> list[str]:
    """Return what sorts keys with the numbers in their texts as numbers: 4 pages before 16."""
    return [re.sub(r"\d+", lambda found: found[0].zfill(20), str(value)) for value in key]


def _sides(times: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    ordered = times.sort_values(["run_id", "boot"], kind="stable")
    return dict(iter(ordered.groupby([*CONDITION, "case", "metric", "kernel"])))


def _with_effects(
    rows: pd.DataFrame, rng: np.random.Generator, smallest: float, blocks: bool
) -> pd.DataFrame:
    """Return `rows` with the fields of `Effects`. Rows with as many boots are worked out together.

    With blocks or references `boots_*` is how many of them there are on each side.
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
    """Return the times of both sides, or of each side and its reference, block by block.

    A block in which one of the two has no boot is left out; of several boots the mean counts.
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
    """Return the condition of each row's boot as one text, the same for the same condition."""
    texts = {boot: json.dumps(dict(rows), sort_keys=True) for boot, rows in conditions.items()}
    if not texts:
        return [""] * len(times)
    keys = zip(times["run_id"].astype(str), times["boot"].astype(int), strict=True)
    return [texts.get(key, "") for key in keys]


@functools.lru_cache(maxsize=256)
def describe_conditions(texts: tuple[str, ...]) -> str:
    """Return in what boots were unlike that must be alike; empty when in nothing.

    What only some of them tell (a file that the other kernel does not have) is no difference.
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
    return f"the boots' machine was not the same: {'; '.join(unlike[:3])}{more}" if unlike else ""


def _alike(
    rows: pd.DataFrame, arrays: Mapping[int, list[Any]]
) -> Iterator[tuple[float, list[int]]]:
    """Yield the rows that can be worked out in one array: as many boots, one resolution."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, sides in arrays.items():
        counts = tuple(map(len, sides))
        if min(counts) > 1:
            groups.setdefault((*counts, rows.loc[index, "case"] == WHOLE_LOAD), []).append(index)
    for key, picked in sorted(groups.items()):
        yield _RESOLUTION_US[WHOLE_LOAD] if key[-1] else 1.0, picked


def _without_unlike_loads(rows: pd.DataFrame) -> pd.DataFrame:
    """Note where the whole load is of different cases on both sides: its time is not comparable."""
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
