"""Frames as the store gives them, with known ratios and noise."""

import numpy as np
import pandas as pd

from harness.analysis.frames import BOOTS, SAMPLES, typed

CASES = ("fix_size_alloc_test", "long_busy_list_alloc_test")


def frames(
    ratio=1.0, boots=5, workers=8, noise=0.02, seed=0, cases=CASES, candidate_cases=None, scale=1.0
):
    """Return (samples, boots): kernels a and b, b `ratio` times faster, boots interleaved."""
    rng = np.random.default_rng(seed)
    samples, booted = [], []
    for boot in range(2 * boots):
        kernel = "ab"[boot % 2]
        job = {"run_id": "r", "boot": boot, "position": boot, "kernel": kernel, "workload": "w"}
        job |= {"cpus": 8, "nr_threads": workers}
        usual = 100_000 * scale * np.exp(rng.normal(0, noise)) / (ratio if kernel == "b" else 1)
        for case in candidate_cases or cases if kernel == "b" else cases:
            for worker, us in enumerate(usual * np.exp(rng.normal(0, 0.05, workers))):
                counts = {"passed": 1, "failed": 0, "xfailed": None, "repeat": 1, "loops": 1000}
                samples.append(
                    job | {"worker": worker, "case": case} | counts | {"avg_us": int(us)}
                )
        booted.append(
            job
            | {"verdict": "passed", "reason": "", "load_ns": int(usual * 2500), "elapsed_s": 1.0}
            | {"started_at": "2026-01-01T00:00:00Z", "block": boot // 2}
        )
    return typed(pd.DataFrame(samples), SAMPLES), typed(pd.DataFrame(booted), BOOTS)
