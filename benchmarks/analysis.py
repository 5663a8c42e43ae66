"""Measures the analysis of a large store: `python -m benchmarks.analysis [boots]`

10,000 boots x 64 workers x 11 cases are first written to a file, which is not measured. Then a new
process reads them in chunks, compares, and exports.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.analysis.compare import compare
from harness.analysis.frames import BOOTS, SAMPLES, joined, typed

WORKERS, CASES, CHUNK = 64, 11, 200
CONDITIONS = ("one", "two", "three", "four", "five")


def chunk(first, rng):
    """Return the samples and boots of `CHUNK` boots."""
    boots = np.arange(first, first + CHUNK)
    facts = pd.DataFrame({"run_id": "r", "boot": boots, "position": boots, "cpus": 64})
    facts["kernel"] = np.where(boots % 2, "patched", "baseline")
    facts["workload"] = np.array(CONDITIONS)[boots // 2 % len(CONDITIONS)]
    facts["nr_threads"] = WORKERS
    usual_us = 1e5 * np.exp(rng.normal(0, 0.03, CHUNK)) / np.where(boots % 2, 12.0, 1.0)
    rows = facts.loc[facts.index.repeat(WORKERS * CASES)].reset_index(drop=True)
    rows["worker"] = np.tile(np.repeat(np.arange(WORKERS), CASES), CHUNK)
    rows["case"] = np.tile([f"case_{number}_test" for number in range(CASES)], CHUNK * WORKERS)
    rows = rows.assign(passed=1, failed=0, xfailed=0, repeat=1, loops=1_000_000)
    noise = np.exp(rng.normal(0, 0.05, len(rows)))
    rows["avg_us"] = (np.repeat(usual_us, WORKERS * CASES) * noise).astype("int64")
    facts = facts.assign(verdict="passed", reason="", load_ns=(usual_us * 11_000).astype("int64"))
    return rows, facts.assign(elapsed_s=1.0, started_at="")


def write(folder, boots):
    rng, booted, writer = np.random.default_rng(1), [], None
    for first in range(0, boots, CHUNK):
        rows, facts = chunk(first, rng)
        table = pa.Table.from_pandas(typed(rows, SAMPLES), preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / "samples.parquet", table.schema)
        writer.write_table(table)
        booted.append(facts)
    writer.close()
    pd.concat(booted).to_parquet(folder / "boots.parquet")


def analyse(folder):
    started = time.perf_counter()
    file = pq.ParquetFile(folder / "samples.parquet")
    samples = joined((batch.to_pandas() for batch in file.iter_batches(500_000)), SAMPLES)
    boots = typed(pd.read_parquet(folder / "boots.parquet"), BOOTS)
    loaded = time.perf_counter()
    found = compare(samples, boots, "baseline", seed=1)
    compared = time.perf_counter()
    found.rows.to_csv(folder / "rows.csv", index=False)
    samples.to_parquet(folder / "export.parquet", index=False)
    ended = time.perf_counter()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    print(f"{len(samples):,} samples of {len(boots):,} boots; {found.answer}")
    print(
        f"load {loaded - started:.1f} s, compare {compared - loaded:.1f} s, export to Parquet",
        end="",
    )
    print(f" {ended - compared:.1f} s, CPU {cpu_s:.1f} s, peak {peak_mib:,.0f} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--analyse"]:
        analyse(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as place:
            write(Path(place), int(sys.argv[1]) if sys.argv[1:] else 10_000)
            command = [sys.executable, "-m", "benchmarks.analysis", "--analyse", place]
            subprocess.run(command, check=True)
