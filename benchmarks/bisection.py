"""How often a bisection of 32 commits is wrong, and how many boots it takes; by simulation.

python -m benchmarks.bisection --experiments 300 --seed 1   the figures of docs/results/bisection.md
python -m benchmarks.bisection --experiments 20    a quick look
"""

import argparse
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from harness.analysis.bisection import Bisection, Phase
from harness.analysis.bisection_ends import SearchBounds, TimedBoot

COMMITS = 32
SEED = 20240102


def steady(generator: random.Random, spread: float) -> Iterator[float]:
    """Independent normal noise."""
    while True:
        yield generator.gauss(0, spread)


def drift(generator: random.Random, spread: float) -> Iterator[float]:
    """The host gets slower by 0.2 % a boot."""
    for boot, noise in enumerate(steady(generator, spread)):
        yield 0.002 * boot + noise


def autocorrelated(generator: random.Random, spread: float) -> Iterator[float]:
    """AR(1) with a coefficient of 0.8."""
    state = generator.gauss(0, spread)
    while True:
        yield state
        state = 0.8 * state + 0.6 * generator.gauss(0, spread)


def bimodal(generator: random.Random, spread: float) -> Iterator[float]:
    """One boot in four, at random, takes 4 % longer."""
    for noise in steady(generator, spread):
        yield noise + (0.04 if generator.random() < 0.25 else 0.0)


def two_modes(generator: random.Random, spread: float) -> Iterator[float]:
    """The host takes 4 % longer for ten boots in a row, on average, and then does not."""
    slow = False
    for noise in steady(generator, spread):
        slow ^= generator.random() < 0.1
        yield noise + 0.04 * slow


def heavy_tailed(generator: random.Random, spread: float) -> Iterator[float]:
    """Student's t with 3 degrees of freedom."""
    while True:
        scale = math.sqrt(generator.gammavariate(1.5, 2.0))  # chi, 3 degrees; the deviation is 1
        yield spread * generator.gauss(0, 1) / scale


@dataclass(frozen=True)
class Case:
    """BAD takes `effect` times as long; `broken`: share of commits that do not build."""

    effect: float
    spread: float
    layout: float = 0.0
    broken: float = 0.0
    host: Callable[[random.Random, float], Iterator[float]] = steady
    bounds: SearchBounds = field(default_factory=SearchBounds)


CASES = [
    *(Case(1.02, 0.005), Case(1.05, 0.01), Case(1.05, 0.02), Case(1.05, 0.03)),
    *(Case(1.10, 0.01), Case(1.10, 0.05), Case(1.05, 0.05)),
    *(Case(1.05, 0.01, host=host) for host in (drift, autocorrelated, bimodal, two_modes)),
    Case(1.05, 0.02, host=heavy_tailed),
    *(Case(1.05, 0.01, 0.005), Case(1.10, 0.01, 0.01), Case(1.05, 0.01, 0.015)),
    *(Case(1.0, 0.02), Case(1.0, 0.01, host=drift), Case(1.0, 0.01, 0.015)),
]


@dataclass
class Rates:
    wrong: int = 0
    unclear: int = 0  # more than one suspect, though nothing was skipped
    suspects: int = 0  # in these
    no_difference: int = 0
    boots: int = 0
    in_steps: int = 0
    builds: int = 0


def simulate(case: Case, experiments: int, seed: int) -> Rates:
    """Carry out bisections with culprits and noise from `seed`."""
    rates, generator = Rates(), random.Random(seed)
    for _ in range(experiments):
        culprit = generator.randint(1, COMMITS)
        layouts = defaultdict[tuple[int, int], float](lambda: generator.gauss(0, case.layout))
        broken = {n for n in range(1, COMMITS) if generator.random() < case.broken}
        noise = case.host(generator, case.spread)
        bisection, skipped = Bisection(COMMITS, case.bounds), set[int]()
        while (state := bisection.state(skipped)).next_commit is not None:
            number = state.next_commit
            if number in broken:
                skipped.add(number)
                continue
            log = layouts[number, state.next_layout] + next(noise)
            log += math.log(case.effect) if number >= culprit else 0.0
            bisection.add(TimedBoot(number, 1e6 * math.exp(log), state.next_layout))
        rates.boots += len(bisection.boots)
        rates.in_steps += sum(boot.commit not in (0, COMMITS) for boot in bisection.boots)
        rates.builds += len({(boot.commit, boot.layout) for boot in bisection.boots})
        if state.phase is Phase.NO_DIFFERENCE:
            rates.no_difference += 1
            continue
        rates.wrong += culprit not in state.suspects
        if len(state.suspects) > 1 and not skipped:
            rates.unclear += 1
            rates.suspects += len(state.suspects)
    return rates


def _unclear(rates: Rates, experiments: int) -> str:
    """Return how many answers are a range, and how many commits there are in one on average."""
    if not rates.unclear:
        return "0.0%"
    return f"{rates.unclear / experiments:.1%} (of {rates.suspects / rates.unclear:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    experiments = given.experiments
    print(
        "| effect | spread | layout | host | wrong | unclear | none | boots | in steps | builds |"
    )
    print("|---" * 10 + "|")
    began = time.process_time()
    for case in CASES:
        rates = simulate(case, experiments, given.seed)
        found = max(1, experiments - rates.no_difference)
        print(
            f"| {case.effect - 1:.0%} | {case.spread:.1%} | {case.layout:.1%} "
            f"| {case.host.__name__.replace('_', ' ')} "
            f"| {rates.wrong / experiments:.1%} | {_unclear(rates, experiments)} "
            f"| {rates.no_difference / experiments:.1%} "
            f"| {rates.boots / experiments:.1f} | {rates.in_steps / found:.1f} "
            f"| {rates.builds / experiments:.1f} |",
            flush=True,
        )
    print(f"\n{experiments} bisections a row, {time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
