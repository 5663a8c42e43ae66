"""Decides the verdict of each row of a comparison.

docs/explanation/statistics.md gives the rules, docs/results/statistics.md their rates.
"""

from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.statistics import ALPHA, MIN_BOOTS, detectable_shift
from harness.analysis.times import CONDITION, Metric

NOISE_LIMIT = 0.10  # if not even a 10 % change would have been shown, boots were too noisy


class Word(StrEnum):
    """The verdict on a row."""

    FASTER = "faster"
    SLOWER = "slower"
    ALIKE = "alike"
    NO_DIFFERENCE = "no difference shown"
    TOO_NOISY = "too noisy"
    TOO_FEW = "too few boots"
    NOT_COMPARABLE = "not comparable"


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with `p_adjusted`, `detectable` and `word`.

    p is adjusted over two families of rows: the slowest workers, and all others, which a headline
    may name. `detectable` is at `ALPHA` divided by the number of rows of the family.
    """
    rows = rows.copy()
    enough = rows[["boots_baseline", "boots_candidate"]].min(axis=1) >= MIN_BOOTS
    comparable = rows["p"].notna() & (rows["note"] == "") & enough
    few = (rows["note"] == "") & ~enough
    rows["p_adjusted"] = rows["detectable"] = np.nan
    for _, family in rows[comparable].groupby(rows["metric"] == Metric.MAX):
        rows.loc[family.index, "p_adjusted"] = stats.false_discovery_control(family["p"])
        rows.loc[family.index, "detectable"] = detectable(family, len(family))
    rows["word"] = words(rows["ratio"], rows["p_adjusted"], rows["p_alike"], rows["detectable"])
    rows.loc[few, "word"] = Word.TOO_FEW.value
    rows.loc[few, "note"] = f"fewer than {MIN_BOOTS} boots of a side"
    rows.loc[~comparable & ~few, "word"] = Word.NOT_COMPARABLE.value
    one = comparable & (rows["p"] < ALPHA) & (rows["p_adjusted"] >= ALPHA)
    rows.loc[one, "note"] = "significant alone, but not among this many comparisons"
    claimed = comparable & rows["word"].isin([Word.FASTER, Word.SLOWER])
    rows.loc[claimed & (rows["p_permutation"] >= ALPHA), "note"] = (
        "assumes log-normal noise: the permutation test alone does not confirm it"
    )
    return rows.drop(columns=["error", "freedom", "spare", "unseen"])


def detectable(found: Any, comparisons: int) -> Any:
    """Return the smallest speed-up, as a fraction, that is shown with power 0.8.

    `found`: has `error`, `freedom`, `spare` and `unseen` of `statistics.Effects`; `comparisons`:
    number of rows in the family.
    """
    error, freedom = np.asarray(found.error, float), np.asarray(found.freedom, float)
    error = error * np.sqrt(freedom / stats.chi2.ppf(0.5, freedom))  # corrects its median
    shift = detectable_shift(error, freedom, np.asarray(found.spare, float), ALPHA / comparisons)
    return np.expm1(np.asarray(found.unseen, float) + shift)


def words(ratio: Any, p_adjusted: Any, p_alike: Any, detectable: Any) -> Any:
    """Return the `Word` of each row."""
    shown = np.asarray(p_adjusted) < ALPHA
    return np.select(
        [
            shown & (np.asarray(ratio) > 1),
            shown,
            np.asarray(p_alike) < ALPHA,
            np.asarray(detectable) > NOISE_LIMIT,
        ],
        [Word.FASTER.value, Word.SLOWER.value, Word.ALIKE.value, Word.TOO_NOISY.value],
        Word.NO_DIFFERENCE.value,
    )


def claimed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a comparison that are faster or slower, without slowest workers."""
    shown = rows["word"].isin([Word.FASTER, Word.SLOWER]) & (rows["metric"] != Metric.MAX)
    return rows[shown]


def confirmed(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return whether a second run confirms the rows that differ in a first one.

    Columns: the key of a row; `word`, `first_ratio`: of the first run; `ratio`, `low`, `high`,
    `p_again`: of the second, NaN if it has none; `confirmed`: same direction with an adjusted p
    below `ALPHA`. p is adjusted over these rows only, as no others are tested in the second run.
    """
    key = [
        *CONDITION,
        "case",
        "candidate",
    ]  # without the metric, which may differ for the whole load
    asked = claimed(first)[[*key, "word", "ratio"]].rename(columns={"ratio": "first_ratio"})
    confirming = second.loc[second["metric"] != Metric.MAX, [*key, "ratio", "low", "high", "p"]]
    both = asked.merge(confirming, on=key, how="left")
    known = both["p"].notna()
    both["p_again"] = np.nan
    both.loc[known, "p_again"] = stats.false_discovery_control(both.loc[known, "p"])
    faster = both["word"] == Word.FASTER
    both["confirmed"] = (both["p_again"] < ALPHA) & ((both["ratio"] > 1) == faster)
    return both.drop(columns="p")
