"""How many boots it takes to see a change, judged from a pilot run."""

import numpy as np
import pandas as pd

from harness.analysis.statistics import MIN_BOOTS, power_at
from harness.analysis.times import CONDITION
from harness.errors import InputError


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
