"""Computes means over boots of quantities with one value per boot."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.statistics import ALPHA


def means_over_boots(frame: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Return a frame with `key`, mean, low, high and boots of the column `value` of `frame`.

    `frame`: a row per boot. `low`, `high`: 95 % interval by Student's t, missing for one boot.
    """
    grouped = frame.groupby(list(key), sort=False)["value"].agg(["mean", "std", "count"])
    rows = grouped.reset_index().rename(columns={"count": "boots"})
    boots = rows["boots"].to_numpy(dtype=float)
    reach = np.full(len(rows), np.nan)
    several = boots > 1
    error = rows["std"].to_numpy(dtype=float)[several] / np.sqrt(boots[several])
    reach[several] = stats.t.ppf(1 - ALPHA / 2, boots[several] - 1) * error
    return rows.assign(low=rows["mean"] - reach, high=rows["mean"] + reach).drop(columns="std")
