"""Measures how often a mailed series is called faster or slower.

python -m benchmarks.nightly [SERIES]

Runs nightly runs with the real code: a mailbox with this number of series, git, plans, store,
comparison, second runs and notices. Only builds and boots are simulated; times are log-normal
around 20 ms, in whole microseconds. docs/howto/nightly.md has the results.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from tests.flow.workplace import DIFF, Workplace

SPREAD = 0.02  # between boots
BOOTS = 5  # of each side
MODULE = Path(__file__).parents[1] / "tests/data/test_vmalloc-6.12-modinfo.o"
MAIL = """From mboxrd@z Thu Jan  1 00:00:00 1970
From: A{value} <a{value}@b.example>
Subject: [PATCH] mm/vmalloc: Return {value}
Date: Tue, 02 Jan 2024 19:46:00 +0100
Message-ID: <value-{value}@b.example>

---
"""
MAIL += DIFF


def nights(folder, series, slower, seed):
    """Run nightly until all series are decided; return the claims and the reported titles."""
    noise = random.Random(seed)
    workplace = Workplace(folder, MODULE.read_bytes())
    playbook = folder / "quick.yaml"
    playbook.write_text(playbook.read_text().replace("repeats: 3", f"repeats: {BOOTS}"))
    workplace.time_us = lambda spec, _: round(
        20_000 * noise.lognormvariate(0, SPREAD) * (1 if spec.name == "base" else slower)
    )
    (folder / "inbox").write_text("".join(MAIL.format(value=n) for n in range(2, series + 2)))
    workplace.boot_takes_s = 1
    file = workplace.file([{"name": "inbox", "mbox": "inbox"}], budget_h=24)
    workplace.night(file).run()
    claims = sum("a second run has to confirm it" in line for line in workplace.said)
    reported = [
        title for title in workplace.titles if " is slower" in title or " is faster" in title
    ]
    assert len(workplace.boots) == 2 * BOOTS * (series + claims)
    return claims, reported


def main():
    series = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(f"{BOOTS} boots a side, {SPREAD:.0%} between boots\n")
    print("| the series | of them | the first run shows a difference | reported after two runs |")
    print("|---|---|---|---|")
    began = time.process_time()
    for words, slower, count in (("changes nothing", 1, series), ("+5 %", 1.05, series // 3)):
        with tempfile.TemporaryDirectory() as folder:
            claims, reported = nights(Path(folder), count, slower, seed=count)
        shares = [f"{found} ({found / count:.1%})" for found in (claims, len(reported))]
        print(f"| {words} | {count} | {shares[0]} | {shares[1]} |", flush=True)
    print(f"\n{time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
