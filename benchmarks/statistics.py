"""Measures the error rates of verdicts by simulated experiments with known truth.

The noise is not only log-normal; the functions are those of the analysis. Each table is for a claim
in docs/results/statistics.md. With 10,000 experiments the standard error of a share of 5 % is 0.2
points, of 80 % 0.4.

python -m benchmarks.statistics                   all tables
python -m benchmarks.statistics --only sessions   one of them
"""

import argparse
import time

import numpy as np
from scipy import stats

from harness.analysis.judging import detectable, words
from harness.analysis.planning import boots_for, upper_spread
from harness.analysis.statistics import ALPHA, compare_boots

EXPERIMENTS = 10_000
USUAL_US = 20_000
SPREAD = 0.03  # between boots, unless a noise has its own


def _scaled(values):
    return SPREAD * values


def log_normal(rng, shape):
    return _scaled(rng.normal(size=shape))


def heavy_tails(rng, shape):
    return _scaled(rng.standard_t(3, shape) / np.sqrt(3))


def outliers(rng, shape):
    odd = (rng.random(shape) < 0.05) * rng.exponential(8, shape)
    return _scaled(rng.normal(size=shape) + odd - 0.4)


def skewed(rng, shape):
    return _scaled(rng.exponential(1, shape) - 1)


def bimodal_host(rng, shape):
    return _scaled(0.4 * rng.normal(size=shape) + 2 * (rng.random(shape) < 0.3) - 0.6)


def quiet(rng, shape):
    return 0.05 * log_normal(rng, shape)


NOISES = (log_normal, heavy_tails, outliers, skewed, bimodal_host)  # all of mean 0
UNLIKE = (
    *((log_normal, skewed), (log_normal, outliers), (quiet, log_normal)),
    *((quiet, skewed), (quiet, outliers), (quiet, bimodal_host)),
)


def in_order(rng, experiments, boots, kind):
    """Return the noise of baseline and candidate, in blocks of one boot each. The order within
    every other block is random and is reversed in the next one, as in harness/run/plan.py.
    """
    length = 2 * boots
    noise = rng.normal(size=(experiments, length)) * 0.01
    if kind == "drift of 10 %":
        noise += np.linspace(0, np.log(1.1), length)
    elif kind == "AR(1) 0.8":
        for n in range(1, length):
            noise[:, n] = 0.8 * noise[:, n - 1] + 0.6 * noise[:, n]
    pairs = noise.reshape(experiments, boots, 2)
    drawn = np.repeat(rng.random((experiments, (boots + 1) // 2)) < 0.5, 2, axis=1)[:, :boots]
    swapped = drawn ^ (np.arange(boots) % 2 == 1)
    first = np.where(swapped, pairs[:, :, 1], pairs[:, :, 0])
    return first, np.where(swapped, pairs[:, :, 0], pairs[:, :, 1])


def times(logs, ratio=1.0):
    """Return times in whole microseconds, as the module prints them."""
    return np.round(USUAL_US / ratio * np.exp(logs))


def compared(a, b, ratio, **options):
    return compare_boots(times(a), times(b, ratio), None, 1.0, **options)


def word_of(found, cases=1):
    """Return the word of each row, in families of `cases` rows; (families, cases)."""
    p = stats.false_discovery_control(found.p.reshape(-1, cases), axis=1).ravel()
    said = words(found.ratio, p, found.p_alike, np.nan)  # "too noisy" is not distinguished
    return np.asarray(said).reshape(-1, cases)


def shown(said):
    return np.isin(said, ["faster", "slower"])


def covers(found, ratio):
    return ((found.low <= ratio) & (ratio <= found.high)).mean()


def table(title, *head):
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)


def line(*cells):
    texts = [f"{cell:.1%}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(texts)} |", flush=True)


def single_rows(experiments):
    table("One row", "noise", "boots a side", "false claims", "coverage of 1.5x", "10 % shown")
    for left, right in [*((noise, noise) for noise in NOISES), *UNLIKE]:
        for boots in (3, 5, 10, 20):
            rng = np.random.default_rng(boots)
            a, b = left(rng, (experiments, boots)), right(rng, (experiments, boots))
            false = shown(word_of(compared(a, b, 1.0))).mean()
            power = shown(word_of(compared(a, b, 1.1))).mean()
            name = left.__name__ if left is right else f"{left.__name__} / {right.__name__}"
            line(name, boots, float(false), float(covers(compared(a, b, 1.5), 1.5)), float(power))


def tables_of_nulls(experiments):
    table("Nothing changed, whole tables", "candidates x cases", "boots a side", "any claim")
    for candidates, cases in ((1, 11), (3, 11), (1, 88)):
        for boots in (3, 5, 10):
            rng = np.random.default_rng(boots)
            shape = (experiments // 2, 1, cases, boots)
            base = np.broadcast_to(
                log_normal(rng, shape), (experiments // 2, candidates, cases, boots)
            )
            other = log_normal(rng, base.shape)
            found = compared(base.reshape(-1, boots), other.reshape(-1, boots), 1.0)
            line(
                f"{candidates} x {cases}",
                boots,
                float(shown(word_of(found, candidates * cases)).any(axis=1).mean()),
            )


def what_would_have_been_seen(experiments):
    table("A change of `detectable`", "rows", "boots a side", "shown")
    for rows in (1, 11, 88):
        for boots in (3, 5, 10):
            rng = np.random.default_rng(boots)
            pilot = compared(log_normal(rng, (500, boots)), log_normal(rng, (500, boots)), 1.0)
            size = 1 + float(np.median(detectable(pilot, rows)))
            a, b = (log_normal(rng, (experiments // 4 * rows, boots)) for _ in "ab")
            effect = np.where(np.arange(len(a)) % rows == 0, np.log(size), 0.0)
            found = compared(a, b - effect[:, None], 1.0)
            line(rows, boots, float(shown(word_of(found, rows))[:, 0].mean()))


def nothing_worth_a_word(experiments):
    table("Small and deterministic", "case", "boots a side", "faster or slower", "alike", "neither")
    for name, ratio, spread in (
        ("21,043 and 21,042 us, no spread", 21_043 / 21_042, 0.0),
        ("0.3 %, spread 0.1 %", 1.003, 0.001),
        ("exactly 0.5 %, spread 0.1 %", 1.005, 0.001),
        ("nothing, spread 0.1 %", 1.0, 0.001),
        ("2 %, spread 0.1 %", 1.02, 0.001),
    ):
        for boots in (3, 10):
            rng = np.random.default_rng(boots)
            a, b = (rng.normal(0, spread, (experiments // 2, boots)) for _ in "ab")
            said = word_of(compared(a, b, ratio))
            claims, alike = float(shown(said).mean()), float((said == "alike").mean())
            line(name, boots, claims, alike, 1 - claims - alike)


def headline(experiments):
    table("True 1.05x everywhere: does the headline's interval hold it?", "rule", "boots", "holds")
    for boots in (3, 5, 10):
        rng = np.random.default_rng(boots)
        a, b = (log_normal(rng, (experiments * 11 // 4, boots)) for _ in "ab")
        found = compared(a, b, 1.05)
        inside = ((found.low <= 1.05) & (found.high >= 1.05)).reshape(-1, 11)
        largest = np.abs(np.log(found.ratio)).reshape(-1, 11).argmax(axis=1)
        line("the whole load, whatever it is", boots, float(inside[:, 0].mean()))
        line(
            "the largest of 11 (not used)",
            boots,
            float(inside[np.arange(len(inside)), largest].mean()),
        )


def blocks(experiments):
    table(
        "Noise that follows the order of the boots",
        "noise", "design", "boots a side", "false claims", "3 % shown", "coverage of 1.03x",
    )  # fmt: skip
    for kind in ("none but chance", "drift of 10 %", "AR(1) 0.8"):
        for paired in (False, True):
            for boots in (3, 5, 10):
                rng = np.random.default_rng(boots)
                a, b = in_order(rng, experiments, boots, kind)
                null = compared(a, b, 1.0, paired=paired)
                real = compared(a, b, 1.03, paired=paired)
                line(
                    kind, "blocks" if paired else "independent", boots,
                    float(shown(word_of(null)).mean()), float(shown(word_of(real)).mean()),
                    float(covers(real, 1.03)),
                )  # fmt: skip


def sessions(experiments):
    table(
        "Two sessions, nothing changed", "sessions differ by", "boots", "ratios", "times (not used)"
    )
    for between in (0.01, 0.02):
        for boots in (3, 5, 10):
            rng = np.random.default_rng(boots)
            shift = rng.normal(0, between, (2, experiments, 1))
            kernel, base = (
                [0.01 * rng.normal(size=(experiments, boots)) + session for session in shift]
                for _ in "kb"
            )
            references = (times(base[0]), times(base[1]))
            ratios = compared(kernel[0], kernel[1], 1.0, references=references)
            alone = compared(kernel[0], kernel[1], 1.0)
            line(
                f"{between:.0%}", boots,
                float(shown(word_of(ratios)).mean()), float(shown(word_of(alone)).mean()),
            )  # fmt: skip


def planning(experiments):
    table("Planned for 3 % at 80 %, spread 2 %", "pilot", "rows", "boots planned", "3 % shown")
    for pilot in (3, 5, 10):
        for rows in (1, 11):
            rng = np.random.default_rng(pilot)
            spread = np.sqrt(0.02**2 * rng.chisquare(2 * pilot - 2, 200) / (2 * pilot - 2))
            planned = [boots_for(s, 0.03, 0.8, rows) for s in upper_spread(spread, 2 * pilot - 2)]
            won = []
            for boots in planned:
                n = max(1, experiments // 50)
                a, b = (0.02 * rng.normal(size=(n, boots)) for _ in "ab")
                found = compared(a, b, 1.03)
                won.append(float((found.p < ALPHA / rows).mean()))
            low, middle, high = np.percentile(planned, [10, 50, 90])
            line(
                f"{pilot} + {pilot}",
                rows,
                f"{middle:.0f} ({low:.0f} to {high:.0f})",
                float(np.mean(won)),
            )


PARTS = (
    *(single_rows, tables_of_nulls, what_would_have_been_seen, nothing_worth_a_word, headline),
    *(blocks, sessions, planning),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS])
    given = parser.parse_args()
    for part in PARTS:
        if given.only in (None, part.__name__):
            part(given.experiments)
    print(f"\n{given.experiments} experiments, {time.process_time():.0f} CPU s")


if __name__ == "__main__":
    main()
