"""How soon steps are found in nightly histories, and how often there is a false alarm.

    python -m benchmarks.history                 the figures of docs/history.md
    python -m benchmarks.history --series 20     a quick look
    python -m benchmarks.history --residuals REPORTS RUN > benchmarks/data/boot_residuals.csv

The last one takes the noise from a run: each passed boot's deviation from the median of its case,
in the order in which the boots ran.
"""

import argparse
import csv
import functools
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

from harness.analysis.steps import CORRELATED, Rule, find_steps
from harness.analysis.times import Metric, boot_times
from harness.store.store import open_store

RESIDUALS = Path(__file__).parent / "data" / "boot_residuals.csv"
NIGHTS = 365
NOISE = 0.02  # standard deviation between boots, of the logarithm
STEP = 0.05
BLOCK = 8  # boots in a row that are drawn together, so that what lasts over boots lasts


def residuals():
    """Return measured deviations, an array a case and size, each scaled to a deviation of 1."""
    found = {}
    with RESIDUALS.open(encoding="utf-8") as stream:
        for row in csv.DictReader(line for line in stream if not line.startswith("#")):
            found.setdefault((row["workload"], row["case"]), []).append(float(row["deviation"]))
    return [np.array(values) / np.std(values) for values in found.values()]


def normal(rng, count):
    return rng.normal(size=count)


def measured(rng, count):
    """Draw boots of one case at random."""
    pool = _POOLS[rng.integers(len(_POOLS))]
    return rng.choice(pool, size=count)


def measured_in_order(rng, count):
    """Draw boots of one case in blocks, as they followed each other."""
    pool = _POOLS[rng.integers(len(_POOLS))]
    starts = rng.integers(len(pool), size=(count // BLOCK + 1, 1))
    return np.take(pool, starts + np.arange(BLOCK), mode="wrap").ravel()[:count]


def nights(draw, rng, boots):
    """Return a year of night values without any change, as `harness.analysis` makes them."""
    return np.median(NOISE * draw(rng, NIGHTS * boots).reshape(NIGHTS, boots), axis=1)


def lasting(rng, correlation):
    """Return what a host does to a year of nights: AR(1), 2 % in all."""
    effect = NOISE * rng.normal(size=NIGHTS)
    for night in range(1, NIGHTS):
        fresh = effect[night] * np.sqrt(1 - correlation**2)
        effect[night] = correlation * effect[night - 1] + fresh
    return effect


HOSTS = {
    "AR(1) 0.5": lambda rng: lasting(rng, 0.5),
    "AR(1) 0.7": lambda rng: lasting(rng, 0.7),
    "AR(1) 0.9": lambda rng: lasting(rng, 0.9),
    "drift of 5 % a year": lambda _: np.log1p(0.05) * np.arange(NIGHTS) / NIGHTS,
    "season of 2 %": lambda _: 0.02 * np.sin(np.arange(NIGHTS) * 2 * np.pi / 365),
}


def on_host(host, compared):
    """Return what draws a year on such a host: of times, or of ratios to a baseline."""

    def draw(rng, boots):
        year = nights(normal, rng, boots)
        if compared:  # the host is in both and cancels; the baseline's own noise does not
            return year - nights(normal, rng, boots)
        return year + host(rng)

    return draw


def delays(years, rng, rule):
    """Return for each year how many nights a planted step took, 1 for its first; inf if missed."""
    for year in years:
        at = int(rng.integers(30, 150))
        stepped = year[: at + 15].copy()
        stepped[at:] += np.log1p(STEP) * rng.choice([-1, 1])
        found = [step.found for step in find_steps(stepped, rule=rule) if step.found >= at]
        yield found[0] - at + 1 if found else np.inf


def measure(name, draw_year, boots, series, seed, rule):
    rng = np.random.default_rng(seed)
    years = [draw_year(rng, boots) for _ in range(series)]
    alarms = sum(len(find_steps(year, rule=rule)) for year in years)
    most = stats.chi2.ppf(0.95, 2 * alarms + 2) / 2  # upper 95 % bound of a Poisson count
    took = np.array(list(delays(years, rng, rule)))
    print(
        f"| {name} | {boots} | {100 * alarms / series:.1f} (at most {100 * most / series:.1f}) "
        f"| {(took <= 5).mean():.0%} | {(took <= 7).mean():.0%} | {np.median(took):.0f} |",
        flush=True,
    )


def write_residuals(reports, run):
    store = open_store(Path(reports) / "vmapbench.db", must_exist=True)
    run_id = store.resolve(run)
    boots = store.boots_frame(run_id)
    times = boot_times(store.samples_frame(run_id), boots[boots["verdict"] == "passed"])
    times = times[times["metric"] != Metric.MAX].sort_values("boot")
    record = store.load_run(run_id)
    print(f"# python -m benchmarks.history --residuals REPORTS {run_id}")
    print(f"# {record.host['cpu']}, {record.host['cores']} cores, QEMU guests; logarithms")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["kernel", "workload", "case", "boot", "deviation"])
    logs = times.assign(log=np.log(times["time_us"]))
    for (kernel, workload, case), group in logs.groupby(["kernel", "workload", "case"]):
        for boot, value in zip(group["boot"], group["log"] - group["log"].median(), strict=True):
            writer.writerow([kernel, workload, case, boot, f"{value:.5f}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--boots", type=int, nargs="+", default=[1, 3], help="a night")
    parser.add_argument("--residuals", nargs=2, metavar=("REPORTS", "RUN"))
    given = parser.parse_args()
    if given.residuals:
        write_residuals(*given.residuals)
        return
    _POOLS.extend(residuals())
    print(f"{given.series} series of {NIGHTS} nights a row; a step of {STEP:.0%} up or down,")
    print(f"noise of {NOISE:.0%} between boots, a night is the median of its boots.\n")
    print("| noise | boots a night | false alarms per 100 series and year (95 %) "
          "| found within 5 nights | within 7 | median nights |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    began = time.process_time()
    draws = (("normal", normal), ("measured", measured), ("measured, in order", measured_in_order))
    for name, draw in draws:
        for boots in given.boots:
            drawn = functools.partial(nights, draw)
            measure(name, drawn, boots, given.series, given.seed, Rule())
    boots = max(given.boots)
    ratio = on_host(None, compared=True)
    measure("ratio, any host", ratio, boots, given.series, given.seed, Rule())
    steady = on_host(lambda _: 0.0, compared=False)
    measure("times, steady host", steady, boots, given.series, given.seed, CORRELATED)
    for name, host in HOSTS.items():
        draw = on_host(host, compared=False)
        measure(f"times, {name}", draw, boots, given.series, given.seed, CORRELATED)
    print(f"\n{time.process_time() - began:.0f} CPU s")


_POOLS = []

if __name__ == "__main__":
    main()
