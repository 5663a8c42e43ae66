"""Measures the error rates and boots of bisections of 32 commits, by simulation.

python -m benchmarks.bisection --experiments 300 --seed 1   the figures of docs/results/bisection.md
python -m benchmarks.bisection --experiments 20    a quick look
python -m benchmarks.bisection --only "0%"         the rows without an effect
python -m benchmarks.bisection --only "5% | 5" --advice    with the boots that the message advises
"""

import argparse
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from statistics import quantiles

from harness.analysis.bisection import Bisection, Phase, SearchState
from harness.analysis.bisection_ends import SearchBounds, TimedBoot, what_would_show

COMMITS = 32
SEED = 20240102


def steady(generator: random.Random, spread: float) -> Iterator[float]:
    """Independent normal noise."""
    while True:
        yield generator.gauss(0, spread)


def drift(generator: random.Random, spread: float) -> Iterator[float]:
    """The host gets slower by 0.2 % per boot."""
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
    """The host alternates between normal and 4 % slower, each for ten boots on average."""
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
    """A simulated case. `effect`: BAD's relative slowdown; `broken`: share of broken commits."""

    effect: float
    spread: float
    layout: float = 0.0
    broken: float = 0.0
    host: Callable[[random.Random, float], Iterator[float]] = steady
    bounds: SearchBounds = field(default_factory=SearchBounds)

    @property
    def title(self) -> str:
        """The first cells of the case's row."""
        host = self.host.__name__.replace("_", " ")
        return f"{self.effect - 1:.0%} | {self.spread:.1%} | {self.layout:.1%} | {host}"


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


class Host:
    """The simulated host: commits with a culprit, and noise from `generator`."""

    def __init__(self, case: Case, generator: random.Random) -> None:
        self.case = case
        self.culprit = generator.randint(1, COMMITS)
        self.layouts = defaultdict[tuple[int, int], float](lambda: generator.gauss(0, case.layout))
        self.broken = {n for n in range(1, COMMITS) if generator.random() < case.broken}
        self.noise = case.host(generator, case.spread)
        self.skipped = set[int]()

    def carry_out(self, bisection: Bisection) -> SearchState:
        """Run the boots that the bisection requests until it ends; return its state."""
        while (state := bisection.state(self.skipped)).next_commit is not None:
            number = state.next_commit
            if number in self.broken:
                self.skipped.add(number)
                continue
            log = self.layouts[number, state.next_layout] + next(self.noise)
            log += math.log(self.case.effect) if number >= self.culprit else 0.0
            bisection.add(TimedBoot(number, 1e6 * math.exp(log), state.next_layout))
        return state


def simulate(case: Case, experiments: int, seed: int) -> Rates:
    """Simulate bisections with culprits and noise from `seed`; return their error rates."""
    rates, generator = Rates(), random.Random(seed)
    for _ in range(experiments):
        host, bisection = Host(case, generator), Bisection(COMMITS, case.bounds)
        state = host.carry_out(bisection)
        rates.boots += len(bisection.boots)
        rates.in_steps += sum(boot.commit not in (0, COMMITS) for boot in bisection.boots)
        rates.builds += len({(boot.commit, boot.layout) for boot in bisection.boots})
        if state.phase is Phase.NO_DIFFERENCE:
            rates.no_difference += 1
            continue
        rates.wrong += host.culprit not in state.suspects
        if len(state.suspects) > 1 and not host.skipped:
            rates.unclear += 1
            rates.suspects += len(state.suspects)
    return rates


def advice(case: Case, experiments: int, seed: int) -> str:
    """Return the results of undecided bisections after the additional boots that they advise."""
    generator, asked, outcomes = random.Random(seed), list[int](), Counter[str]()
    for _ in range(experiments):
        host, bisection = Host(case, generator), Bisection(COMMITS, case.bounds)
        state = host.carry_out(bisection)
        if state.phase is not Phase.NO_DIFFERENCE:
            continue
        needed = state.effect and what_would_show(state.effect, case.bounds)
        if not needed:
            outcomes["given no number"] += 1
            continue
        asked.append(needed[0])
        bounds = replace(
            case.bounds, most_boots=max(needed[0], case.bounds.most_boots), layouts=needed[1]
        )
        again = Bisection(COMMITS, bounds)
        for boot in bisection.boots:
            again.add(boot)
        state = host.carry_out(again)
        found = state.phase is not Phase.NO_DIFFERENCE
        if found and host.culprit not in state.suspects:
            outcomes["wrong"] += 1
        else:
            outcomes["the culprit or a range with it" if found else "no difference again"] += 1
    spread = [f"{value:.0f}" for value in quantiles(asked, n=10)] if len(asked) > 1 else []
    numbers = f"{spread[4]} boots of each ({spread[0]} to {spread[8]})" if spread else "none"
    said = ", ".join(f"{count} {word}" for word, count in outcomes.most_common())
    return f"{case.title}: {sum(outcomes.values())} without an answer asked for {numbers}; {said}"


def _unclear(rates: Rates, experiments: int) -> str:
    """Return how many answers are a range of commits, and their mean number."""
    if not rates.unclear:
        return "0.0%"
    return f"{rates.unclear / experiments:.1%} (of {rates.suspects / rates.unclear:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows that begin with this")
    parser.add_argument("--advice", action="store_true", help="add the boots that were asked for")
    given = parser.parse_args()
    experiments = given.experiments
    cases = [case for case in CASES if case.title.startswith(given.only)]
    if given.advice:
        for case in cases:
            print(advice(case, experiments, given.seed), flush=True)
        return
    print(
        "| effect | spread | layout | host | wrong | unclear | none | boots | in steps | builds |"
    )
    print("|---" * 10 + "|")
    began = time.process_time()
    for case in cases:
        rates = simulate(case, experiments, given.seed)
        found = max(1, experiments - rates.no_difference)
        print(
            f"| {case.title} | {rates.wrong / experiments:.1%} | {_unclear(rates, experiments)} "
            f"| {rates.no_difference / experiments:.1%} "
            f"| {rates.boots / experiments:.1f} | {rates.in_steps / found:.1f} "
            f"| {rates.builds / experiments:.1f} |",
            flush=True,
        )
    print(f"\n{experiments} bisections a row, {time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
