"""How often are the verdicts wrong? `python -m benchmarks.statistics`

4,000 simulated experiments a row, log-normal noise between boots and between 16 workers.
"""

import numpy as np

from harness.analysis.statistics import ALPHA, compare_boots

EXPERIMENTS = 4_000


def times(rng, boots, spread, usual_us):
    boot = np.exp(rng.normal(0, spread, (EXPERIMENTS, boots, 1)))
    workers = np.exp(rng.normal(0, 0.05, (EXPERIMENTS, boots, 16)))
    return (usual_us * boot * workers).round().mean(axis=2)


def main():
    print("| boots a side | spread, baseline / candidate | false claims | coverage of 1.5x |")
    print("|---|---|---|---|")
    for boots in (3, 5, 10, 20):
        for spreads in ((0.03, 0.03), (0.01, 0.05), (0.20, 0.20)):
            rng = np.random.default_rng(boots)
            baseline = times(rng, boots, spreads[0], 20_000)
            null = compare_boots(baseline, times(rng, boots, spreads[1], 20_000), rng, 1.0)
            claims = (null.p < ALPHA) & ((null.low > 1) | (null.high < 1))
            real = compare_boots(baseline, times(rng, boots, spreads[1], 20_000 / 1.5), rng, 1.0)
            covered = (real.low <= 1.5) & (real.high >= 1.5)
            print(
                f"| {boots} | {spreads[0]:.0%} / {spreads[1]:.0%} |"
                f" {claims.mean():.1%} | {covered.mean():.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
