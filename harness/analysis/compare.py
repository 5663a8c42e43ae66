"""Compares kernels from the samples of their boots. The boot is the unit of replication.

Workers of one boot share a kernel layout, a memory layout and a host's mood: each boot counts once.
docs/statistics.md explains every choice; tests/unit/analysis/test_validation.py holds its rates.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.frames import BOOTS, SAMPLES, typed
from harness.analysis.statistics import (
    ALPHA,
    MIN_BOOTS,
    Effects,
    compare_boots,
    power_at,
)
from harness.errors import InputError
from harness.verdict import Verdict

WHOLE_LOAD = "whole load"  # pseudo-case: the wall time of the load call, the series' own figure
# A worker that is done sleeps 10 ms at a time until the module, which ends one by one,
# comes to it (lib/test_vmalloc.c, test_func).
_END_OF_A_WORKER_NS = 10_000_000
_ENDS_SHARE = 0.05  # of the load call, above which it says too little about the allocator
NOISE_LIMIT = 0.10  # where not even a 10 % change would have shown, the boots were too noisy

Conditions = Mapping[tuple[str, int], Mapping[str, str]]
"""(run id, number of the boot) -> name -> value: the machine, and how it was tuned."""
NO_CONDITIONS: Conditions = MappingProxyType({})

CONDITION = ["workload", "cpus", "nr_threads"]
_RESOLUTION_US = {WHOLE_LOAD: 0.001}  # the module counts whole microseconds, the load nanoseconds


class Metric(StrEnum):
    """What one boot's time of a case is."""

    MEAN = "worker mean"
    MAX = "slowest worker"
    LOAD = "load call"
    LAST = "last worker"  # the whole load where ending the workers is too much of the load call


class Word(StrEnum):
    """What may be said of a row."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference shown"
    TOO_NOISY = "too noisy"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the boots show.

    `rows`: one per workload, cpus, nr_threads, candidate, case and metric. Columns: those;
    `boots_*` (`*`: baseline, candidate); `time_us_*` (geometric mean over boots);
    `throughput_*` (operations a second of all workers; with the worker mean only);
    `fairness_*` (Jain's index over the
    workers' rates, mean over boots; description only); `ratio` with `low` and `high` (baseline
    time / candidate time, above 1 is faster; 95 %); `p`, `p_adjusted`, `p_permutation`; `shift_us`
    (candidate - baseline); `detectable` (fraction); `word` (a `Word`); `note`.
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
) -> Comparison:
    """Compare every other kernel with `baseline`; frames as in `harness.analysis.frames`.

    `conditions`: what must be alike between the boots of a pair, for boots that tell. Only boots
    whose verdict is `passed` count. The result depends on the boots and `seed` alone, not on the
    order of rows. Raises InputError for an unknown baseline or a missing column.
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
    rows = _judged(_rows(times, baseline, candidates, np.random.default_rng(seed)))
    return Comparison(
        baseline=baseline,
        candidates=candidates,
        rows=rows,
        excluded=_excluded(boots),
        notes=tuple(_notes(rows, passed, boots)),
        answer=answer(rows, baseline, candidates),
    )


def boot_times(samples: pd.DataFrame, passed: pd.DataFrame) -> pd.DataFrame:
    """Return one row a boot, case and metric: the boot's columns, time_us, throughput, fairness.

    `work` (loops x repeats) tells passes of different work apart.
    """
    keys = ["run_id", "boot"]
    work = samples[["avg_us", "loops", "repeat"]].astype("float64")
    rate = work["loops"] / work["avg_us"].clip(lower=1) * 1e6  # 0 us is below the clock's step
    work = work.assign(rate=rate, square=rate**2)
    grouped = work.groupby([samples[key] for key in [*keys, "case"]], observed=True, sort=False)
    seen = grouped.agg(
        mean_us=("avg_us", "mean"),
        max_us=("avg_us", "max"),
        workers=("rate", "size"),
        rate=("rate", "sum"),
        square=("square", "sum"),
        loops=("loops", "max"),
        repeat=("repeat", "max"),
    ).reset_index()
    described = passed[[*keys, "kernel", *CONDITION, "load_ns"]].astype(
        {"kernel": str, "workload": str, "run_id": str}
    )
    seen = seen.astype({"run_id": str, "case": str}).merge(described, on=keys)
    mean = _metric(seen, Metric.MEAN, seen["mean_us"]).assign(
        throughput=1e6 * seen["nr_threads"] * seen["loops"] / seen["mean_us"].clip(lower=1),
        fairness=seen["rate"] ** 2 / (seen["workers"] * seen["square"]),
    )
    slowest = _metric(seen, Metric.MAX, seen["max_us"])
    return pd.concat([mean, slowest, *_whole_loads(samples, described)], ignore_index=True)


def _whole_loads(samples: pd.DataFrame, described: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the rows of the whole load: of one condition all boots have the same metric."""
    whole = described[described["load_ns"].notna()].assign(case=WHOLE_LOAD, loops=0, repeat=0)
    shortest_ns = whole.groupby(CONDITION)["load_ns"].transform("min").astype("float64")
    ends = _END_OF_A_WORKER_NS * whole["nr_threads"] > _ENDS_SHARE * shortest_ns
    load = whole[~ends]
    yield _metric(load, Metric.LOAD, load["load_ns"].astype("float64") / 1000)
    last = whole[ends].set_index(["run_id", "boot"])
    mine = samples[samples["boot"].isin(last.index.get_level_values("boot"))]
    spent = (mine["avg_us"] * mine["repeat"].astype("int64")).groupby(
        [mine["run_id"].astype(str), mine["boot"], mine["worker"]], sort=False
    )
    last_us = spent.sum().groupby(level=[0, 1], sort=False).max()
    last = last.join(last_us.rename("last_us")).reset_index()
    yield _metric(last, Metric.LAST, last["last_us"].astype("float64"))


def _metric(frame: pd.DataFrame, metric: Metric, time_us: "pd.Series[Any]") -> pd.DataFrame:
    kept = frame[["run_id", "boot", "kernel", *CONDITION, "case"]]
    return kept.assign(
        metric=metric.value,
        work=frame["loops"] * frame["repeat"],
        time_us=time_us.clip(lower=1e-3),
        throughput=np.nan,
        fairness=np.nan,
    )


def _rows(
    times: pd.DataFrame, baseline: str, candidates: tuple[str, ...], rng: np.random.Generator
) -> pd.DataFrame:
    """Return all rows without words. Rows with as many boots are worked out together."""
    ordered = times.sort_values(["run_id", "boot"], kind="stable")
    sides = dict(iter(ordered.groupby([*CONDITION, "case", "metric", "kernel"])))
    rows: list[dict[str, Any]] = []
    work: list[tuple[Any, Any]] = []  # baseline's and candidate's boots
    for key in sorted({key[:-1] for key in sides}):
        for candidate in candidates:
            a, b = sides.get((*key, baseline)), sides.get((*key, candidate))
            if a is None and b is None:
                continue
            rows.append(_described(key, candidate, a, b))
            work.append((a, b))
    frame = pd.DataFrame(rows, columns=_DESCRIBED)
    effects = pd.DataFrame(np.nan, index=frame.index, columns=[f.name for f in fields(Effects)])
    for resolution, picked in _alike(frame):
        a_us = np.array([work[index][0]["time_us"].to_numpy() for index in picked])
        b_us = np.array([work[index][1]["time_us"].to_numpy() for index in picked])
        found = compare_boots(a_us, b_us, rng, resolution)
        for name in effects.columns:
            effects.loc[picked, name] = getattr(found, name)
    return frame.join(effects.rename(columns={"shift": "shift_us"}))


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


def _alike(frame: pd.DataFrame) -> Iterator[tuple[float, list[int]]]:
    """Yield the rows that can be worked out in one array: as many boots, one resolution."""
    ready = frame[
        (frame["note"] == "") & (frame[["boots_baseline", "boots_candidate"]].min(axis=1) > 1)
    ]
    whole = ready["case"] == WHOLE_LOAD
    for key, group in ready.groupby(["boots_baseline", "boots_candidate", whole]):
        yield _RESOLUTION_US[WHOLE_LOAD] if key[2] else 1.0, list(group.index)


def _judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with p_adjusted and word. One family: a candidate's rows of one metric."""
    rows = _without_unlike_loads(rows)
    comparable = rows["p"].notna() & (rows["note"] == "")
    enough = rows[["boots_baseline", "boots_candidate"]].min(axis=1) >= MIN_BOOTS
    rows["p_adjusted"] = np.nan
    for _, family in rows[comparable & enough].groupby(["candidate", "metric"]):
        rows.loc[family.index, "p_adjusted"] = stats.false_discovery_control(family["p"])
    rows["word"] = words(rows["low"], rows["high"], rows["p_adjusted"], rows["detectable"])
    few = (rows["note"] == "") & ~enough
    rows.loc[few, ["word", "note"]] = Word.TOO_NOISY.value, f"fewer than {MIN_BOOTS} boots a side"
    rows.loc[~comparable & ~few, "word"] = Word.NOT_COMPARABLE.value
    one = comparable & enough & (rows["p"] < ALPHA) & (rows["p_adjusted"] >= ALPHA)
    rows.loc[one, "note"] = "would count alone, not among this many comparisons"
    small = (
        comparable
        & rows["word"].isin([Word.FASTER, Word.SLOWER])
        & (rows["p_permutation"] >= ALPHA)
    )
    rows.loc[small, "note"] = "rests on log-normal noise: permutations alone do not confirm it"
    return rows


def words(low: Any, high: Any, p_adjusted: Any, detectable: Any) -> Any:
    """Return the word for each row: both the interval and the adjusted p must show a difference."""
    shown = np.asarray(p_adjusted) < ALPHA
    return np.select(
        [
            shown & (np.asarray(low) > 1),
            shown & (np.asarray(high) < 1),
            np.asarray(detectable) > NOISE_LIMIT,
        ],
        [Word.FASTER.value, Word.SLOWER.value, Word.TOO_NOISY.value],
        Word.NO_DIFFERENCE.value,
    )


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
            f" is more than {_ENDS_SHARE:.0%} of the load call."
        )
    if (rows["note"] == "loops or repeats differ between the sides").any():
        yield "Where loops or repeats differ between the sides, nothing is compared."


def answer(rows: pd.DataFrame, baseline: str, candidates: tuple[str, ...]) -> str:
    """Return one sentence: what the first candidate does at the condition with most threads."""
    if not candidates:
        return f"There is nothing to compare with {baseline}."
    mine = rows[rows["candidate"] == candidates[0]]
    load = mine[mine["case"] == WHOLE_LOAD].sort_values(["nr_threads", "cpus"], kind="stable")
    if load.empty:
        return f"No boot of {candidates[0]} can be compared with {baseline}."
    row = load.iloc[-1]
    subject = f"{candidates[0]} against {baseline} at {row['nr_threads']} threads"
    figures = f"{row['ratio']:.2f}x, 95 % interval {row['low']:.2f} to {row['high']:.2f}"
    counts = f"{row['boots_baseline']} and {row['boots_candidate']} boots"
    if row["word"] in (Word.FASTER, Word.SLOWER):
        return f"{subject}: the whole load is {row['word']}, {figures}, {counts}."
    why = f": {row['note']}" if row["note"] else ""
    if pd.isna(row["ratio"]):
        return f"{subject}: {row['word']} for the whole load ({counts}){why}."
    return f"{subject}: {row['word']} for the whole load ({figures}, {counts}){why}."


def required_boots(pilot: pd.DataFrame, effect: float = 0.03, power: float = 0.8) -> pd.DataFrame:
    """Return how many boots a side show a change of `effect` with `power`, before correction.

    `pilot`: what `boot_times` returns. One row per condition, case and metric: `boots_pilot` (the
    smaller side), `spread` (standard deviation of log time, pooled over kernels), `boots` (missing
    where the pilot has no repeated boot, or above 10,000).
    """
    if effect <= 0 or not 0 < power < 1:
        raise InputError(f"planning: effect {effect} must be above 0 and power {power} in (0, 1)")
    logs = pilot.assign(log=np.log(pilot["time_us"]))
    keys = [*CONDITION, "case", "metric"]
    each = logs.groupby([*keys, "kernel"])["log"].agg(["size", "var"]).reset_index()
    each = each[each["size"] > 1]
    each["squares"] = each["var"] * (each["size"] - 1)
    each["freedom"] = each["size"] - 1
    found = (
        each.groupby(keys)
        .agg(boots_pilot=("size", "min"), squares=("squares", "sum"), freedom=("freedom", "sum"))
        .reset_index()
    )
    found["spread"] = np.sqrt(found["squares"] / found["freedom"])
    found["boots"] = [_boots_for(spread, np.log1p(effect), power) for spread in found["spread"]]
    found["boots"] = found["boots"].astype("Int64")
    return found.drop(columns=["squares", "freedom"])


def _boots_for(spread: float, shift: float, power: float) -> int | None:
    counts = np.unique(np.geomspace(MIN_BOOTS, 10_000, 2_000).astype(int))
    errors = np.maximum(spread, 1e-9) * np.sqrt(2 / counts)
    enough = power_at(np.minimum(shift / errors, 200.0), 1.0, 2 * counts - 2) >= power
    return int(counts[enough.argmax()]) if enough.any() else None
