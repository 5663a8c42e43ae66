"""Measures the delay of detecting steps in nightly histories, and the rate of false alarms.

    python -m benchmarks.history                 the figures of docs/results/history.md
    python -m benchmarks.history --series 20     a quick look
    python -m benchmarks.history --cost          CPU time of judging 60 series, night by night
    python -m benchmarks.history --residuals REPORTS RUN > benchmarks/data/boot_residuals.csv

The last one extracts the noise of a run: the deviations of passed boots from the median of their
case, in run order.
"""

import argparse
import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.analysis.contrasts import find_local_steps
from harness.analysis.steps import Scatter, find_steps
from harness.analysis.times import Metric, boot_times
from harness.store.store import open_store

RESIDUALS = Path(__file__).parent / "data" / "boot_residuals.csv"
NIGHTS = 365
NOISE = 0.02  # standard deviation between boots, of the logarithm
STEPS = (0.05, 0.1)
BLOCK = 8  # consecutive boots that are drawn together, to keep their correlation


def residuals():
    """Return measured deviations, an array per case and size, scaled to a deviation of 1."""
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
    """Draw boots of one case in blocks of consecutive boots."""
    pool = _POOLS[rng.integers(len(_POOLS))]
    starts = rng.integers(len(pool), size=(count // BLOCK + 1, 1))
    return np.take(pool, starts + np.arange(BLOCK), mode="wrap").ravel()[:count]


def steady(_):
    return np.zeros(NIGHTS)


def lasting(correlation):
    """Return the effect of a host with AR(1) noise of 2 %."""

    def effect(rng):
        found = NOISE * rng.normal(size=NIGHTS)
        for night in range(1, NIGHTS):
            fresh = found[night] * np.sqrt(1 - correlation**2)
            found[night] = correlation * found[night - 1] + fresh
        return found

    return effect


def drift(_):
    return np.log1p(0.05) * np.arange(NIGHTS) / NIGHTS


def season(days):
    """2 % up and down."""
    return lambda rng: 0.02 * np.sin((np.arange(NIGHTS) + rng.uniform(0, days)) * 2 * np.pi / days)


def transients(rng):
    """10 % for one or two nights, twelve times a year."""
    effect = np.zeros(NIGHTS)
    for night in np.flatnonzero(rng.random(NIGHTS) < 12 / NIGHTS):
        effect[night : night + rng.integers(1, 3)] += np.log1p(0.1)
    return effect


def noisier(boots):
    """Double the spread of boots in the second half of the year."""
    boots[NIGHTS // 2 :] *= 2
    return boots


def disturbed(rng, boots):
    """Slow down consecutive boots in every thirtieth session by 10 %."""
    count = boots.shape[1]
    for night in np.flatnonzero(rng.random(NIGHTS) < 1 / 30):
        begin, end = np.sort(rng.choice(count + 1, size=2, replace=False))
        boots[night, begin:end] += np.log1p(0.1)
    return boots


@dataclass(frozen=True)
class Row:
    """A kind of noise. `compared`: whether the values are ratios to a baseline, or times.

    `compiler`: from the step on another compiler makes both kernels 3 % slower.
    """

    name: str
    compared: bool
    draw: Any = normal
    host: Any = steady
    boots: int = 3
    noisier: bool = False
    disturbed: bool = False
    compiler: bool = False

    @property
    def title(self):
        return f"{'ratio' if self.compared else 'times'}, {self.name}"

    def find(self, values, scatter, restarts=()):
        """Return the steps that `harness.analysis.changepoints` finds in these values."""
        if self.compared:
            return find_steps(values, restarts, scatter=scatter)
        return find_local_steps(values, restarts)

    def year(self, rng):
        """Return the values of a year of nights without a step, and the scatter of their boots."""
        sides = 2 if self.compared else 1
        boots = NOISE * np.column_stack(
            [self.draw(rng, NIGHTS * self.boots).reshape(NIGHTS, -1) for _ in range(sides)]
        )
        boots = noisier(boots) if self.noisier else boots
        order = np.arange(sides * self.boots).reshape(sides, -1).T.ravel()  # sides alternate
        if self.disturbed:
            boots[:, order] = disturbed(rng, boots[:, order])
        boots += self.host(rng)[:, None]
        by_side = boots.reshape(NIGHTS, sides, -1)
        logs = np.median(by_side, axis=2)
        away = by_side - by_side.mean(axis=2, keepdims=True)
        freedom = np.full(NIGHTS, sides * (self.boots - 1.0))
        scatter = Scatter((away**2).sum(axis=(1, 2)), freedom)
        return (logs[:, 0] - logs[:, 1] if self.compared else logs[:, 0]), scatter

    def delay(self, rng, size):
        """Return after how many nights a planted step was found, from 1; inf if it was missed."""
        at = int(rng.integers(60, 150)) + (
            0 if self.compared else 40
        )  # times have a longer learning phase
        stepped, scatter = self.year(rng)
        stepped = stepped[: at + 15].copy()
        stepped[at:] += np.log1p(size) * rng.choice([-1, 1])
        restarts = ()
        if self.compiler and not self.compared:  # as in `changepoints.breaking`
            stepped[at:] += np.log1p(0.03)
            restarts = (at,)
        found = [step.found for step in self.find(stepped, scatter, restarts) if step.found >= at]
        return found[0] - at + 1 if found else np.inf


def measure(row, series, seed):
    rng = np.random.default_rng(seed)
    alarms = sum(len(row.find(*row.year(rng))) for _ in range(series))
    most = stats.chi2.ppf(0.95, 2 * alarms + 2) / 2  # upper 95 % bound of a Poisson count
    cells = [row.title, row.boots, f"{100 * alarms / series:.1f} ({100 * most / series:.1f})"]
    for size in STEPS:
        took = np.array([row.delay(rng, size) for _ in range(series)])
        cells += [f"{(took <= nights).mean():.0%}" for nights in (5, 7, 10)]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def rows():
    """Yield all kinds of noise. Effects of the host cancel in ratios, so one suffices."""
    draws = (("normal", normal), ("measured", measured), ("measured, in order", measured_in_order))
    yield from (Row(name, True, draw, boots=boots) for name, draw in draws for boots in (1, 3))
    yield Row("steady host", False)
    yield Row("steady host, measured", False, measured_in_order)
    yield Row("host AR(1) 0.9", True, host=lasting(0.9))
    yield from (Row(f"host AR(1) {rho}", False, host=lasting(rho)) for rho in (0.5, 0.8, 0.9))
    yield Row("drift of 5 % a year", False, host=drift)
    yield Row("season of a year", False, host=season(365))
    yield Row("season of two months", False, host=season(60))
    yield Row("transients", False, host=transients)
    for compared in (True, False):
        yield Row("sessions disturbed in part", compared, disturbed=True)
        yield Row("spread doubles", compared, noisier=True)
        yield Row("new compiler with the step", compared, compiler=True)


def cost():
    for compared in (True, False):
        row, rng = Row("steady host", compared), np.random.default_rng(1)
        years = [row.year(rng) for _ in range(60)]
        began = time.process_time()
        for year in years:
            row.find(*year)
        print(f"{row.title}: {time.process_time() - began:.1f} CPU s for 60 series of a year")


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
    parser.add_argument("--only", default="", metavar="WORDS", help="rows that hold these words")
    parser.add_argument("--residuals", nargs=2, metavar=("REPORTS", "RUN"))
    parser.add_argument("--cost", action="store_true")
    given = parser.parse_args()
    if given.residuals:
        write_residuals(*given.residuals)
        return
    if given.cost:
        cost()
        return
    _POOLS.extend(residuals())
    print(f"{given.series} series of {NIGHTS} nights a row; noise of {NOISE:.0%} between boots,")
    print(
        "a night is the median of its boots; found: of steps up or down, within so many nights.\n"
    )
    found = [f"{size:.0%} found in {nights}" for size in STEPS for nights in (5, 7, 10)]
    head = [
        "noise",
        "boots a night",
        "false alarms per 100 series and year (at most, 95 %)",
        *found,
    ]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    began = time.process_time()
    for row in (row for row in rows() if given.only in f"{row.title} {row.boots}"):
        measure(row, given.series, given.seed)
    print(f"\n{time.process_time() - began:.0f} CPU s")


_POOLS = []

if __name__ == "__main__":
    main()
