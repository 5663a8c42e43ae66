"""Which word each row of a comparison gets; docs/statistics.md gives the rules and their rates."""

from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.statistics import ALPHA, MIN_BOOTS

NOISE_LIMIT = 0.10  # where not even a 10 % change would have shown, the boots were too noisy


class Word(StrEnum):
    """What may be said of a row."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference shown"
    TOO_NOISY = "too noisy"
    NOT_COMPARABLE = "not comparable"


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with p_adjusted and word. One family: a candidate's rows of one metric."""
    rows = rows.copy()
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
