"""Computes how many boots are needed to show a change, from a pilot run."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.statistics import ALPHA, MIN_BOOTS, SMALLEST_EFFECT, power_at
from harness.analysis.times import CONDITION, Metric
from harness.errors import InputError

_MOST_BOOTS = 10_000
_UPPER = 0.8  # confidence of the upper limit of the spread


def required_boots(
    pilot: pd.DataFrame,
    effect: float = 0.03,
    power: float = 0.8,
    smallest: float = SMALLEST_EFFECT,
) -> pd.DataFrame:
    """Return a frame with the boots of each side needed to show a change of `effect` with `power`.

    `pilot`: from `boot_times`. A row per condition, case and metric: `boots_pilot` (of the smaller
    side), `spread` (standard deviation of log time, pooled over kernels), `upper_spread` (its upper
    80 % limit, which is used: Browne 1995), `boots` (missing above 10,000). Accounts for multiple
    comparisons. Raises InputError if no number of boots suffices, or if the pilot has no kernel
    with two boots.
    """
    if not 0 < power < 1:
        raise InputError(f"planning: found power {power}, expected a number between 0 and 1")
    if effect <= smallest:
        raise InputError(
            f"planning: a change of {effect:.2%} is never called faster or slower, because the "
            f"playbook's smallest_effect is {smallest:.2%}\n  next: use a larger change, or "
            "set a smaller smallest_effect in the playbook"
        )
    keys = [*CONDITION, "case", "metric"]
    logs = pilot.assign(log=np.log(pilot["time_us"]))
    each = logs.groupby([*keys, "kernel"])["log"].agg(["size", "var"]).reset_index()
    comparisons = max(1, each["kernel"].nunique() - 1) * max(
        1, len(each.loc[each["metric"] != Metric.MAX, keys].drop_duplicates())
    )
    each = each[each["size"] > 1]
    if each.empty:
        raise InputError(
            "planning: the pilot has no kernel with two boots that passed, so the spread between "
            "boots is unknown\n  next: run a pilot with `repeats: 5` or more"
        )
    each["squares"] = each["var"] * (each["size"] - 1)
    each["freedom"] = each["size"] - 1
    found = (
        each.groupby(keys)
        .agg(boots_pilot=("size", "min"), squares=("squares", "sum"), freedom=("freedom", "sum"))
        .reset_index()
    )
    found["spread"] = np.sqrt(found["squares"] / found["freedom"])
    found["upper_spread"] = upper_spread(found["spread"], found["freedom"])
    found["boots"] = [
        boots_for(spread, effect, power, comparisons, smallest) for spread in found["upper_spread"]
    ]
    found["boots"] = found["boots"].astype("Int64")
    return found.drop(columns=["squares", "freedom"])


def upper_spread(spread: Any, freedom: Any) -> Any:
    """Return the upper 80 % confidence limit of a spread with `freedom` degrees of freedom."""
    return spread * np.sqrt(freedom / stats.chi2.ppf(1 - _UPPER, freedom))


def boots_for(
    spread: float,
    effect: float,
    power: float,
    comparisons: int = 1,
    smallest: float = SMALLEST_EFFECT,
) -> int | None:
    """Return the boots of each side needed to show `effect` with `power`; None above 10,000.

    `spread`: standard deviation of log time; `comparisons`: number of rows in the family.
    """
    counts = np.unique(np.geomspace(MIN_BOOTS, _MOST_BOOTS, 2_000).astype(int))
    errors = max(spread, 1e-9) * np.sqrt(2 / counts)
    beyond = np.minimum((np.log1p(effect) - np.log1p(smallest)) / errors, 200.0)
    spare = 1 + MIN_BOOTS / counts
    enough = power_at(beyond, 1.0, 2 * counts - 2, ALPHA / comparisons, spare) >= power
    return int(counts[enough.argmax()]) if enough.any() else None
