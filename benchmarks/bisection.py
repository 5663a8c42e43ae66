"""How often a bisection of 32 commits is wrong, and how many boots it takes; by simulation."""

import math
import random
from dataclasses import dataclass, field

from harness.analysis.bisection import Boot, Bounds, Phase, decide, plain_boots

COMMITS = 32
CASES = [(1.02, 0.005), (1.05, 0.01), (1.05, 0.02), (1.05, 0.03), (1.10, 0.01), (1.10, 0.05)]


@dataclass(frozen=True)
class Case:
    """BAD takes `effect` times as long; `broken`: share of commits that do not build."""

    effect: float
    spread: float
    layout: float = 0.0
    broken: float = 0.0
    bounds: Bounds = field(default_factory=Bounds)


@dataclass
class Rates:
    wrong: int = 0
    no_difference: int = 0
    boots: int = 0
    of_ends: int = 0
    plain: int = 0


def simulate(case: Case, experiments: int, seed: int) -> Rates:
    """Carry out bisections with culprits and noise from `seed`."""
    rates, generator = Rates(), random.Random(seed)
    for _ in range(experiments):
        culprit = generator.randint(1, COMMITS)
        layout = [generator.gauss(0, case.layout) for _ in range(COMMITS + 1)]
        broken = {n for n in range(1, COMMITS) if generator.random() < case.broken}
        boots: list[Boot] = []
        skipped: set[int] = set()
        while (state := decide(COMMITS, boots, skipped, case.bounds)).next_commit is not None:
            number = state.next_commit
            if number in broken:
                skipped.add(number)
                continue
            log = layout[number] + generator.gauss(0, case.spread)
            log += math.log(case.effect) if number >= culprit else 0.0
            boots.append(Boot(number, 1e6 * math.exp(log)))
        rates.boots += len(boots)
        rates.of_ends += sum(boot.commit in (0, COMMITS) for boot in boots)
        if state.phase is Phase.NO_DIFFERENCE:
            rates.no_difference += 1
            continue
        rates.wrong += culprit not in state.suspects
        rates.plain += plain_boots(COMMITS, state.effect, case.bounds) if state.effect else 0
    return rates


def main(experiments: int = 200) -> None:
    print("| effect | spread | layout | wrong | no difference | boots | of them in steps | plain |")
    print("|---|---|---|---|---|---|---|---|")
    cases = [Case(effect, spread) for effect, spread in CASES]
    cases += [Case(1.05, 0.01, 0.005), Case(1.10, 0.01, 0.01), Case(1.0, 0.02)]
    for case in cases:
        rates = simulate(case, experiments, seed=20240102)
        steps, found = rates.boots - rates.of_ends, max(1, experiments - rates.no_difference)
        print(
            f"| {case.effect - 1:.0%} | {case.spread:.1%} | {case.layout:.1%} "
            f"| {rates.wrong / experiments:.1%} | {rates.no_difference / experiments:.1%} "
            f"| {rates.boots / experiments:.1f} | {steps / found:.1f} "
            f"| {rates.plain / found:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
