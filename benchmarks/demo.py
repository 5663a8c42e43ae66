"""Measures `make demo`, from scratch and a second time, optionally on a busy machine.

    python -m benchmarks.demo [--busy 0.5] [--folder FOLDER]

Uses a fresh clone with empty kernel and compiler caches; the system packages must be installed.
`--busy`: share of each core that another program tries to use. Prints a line of JSON per run.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PERIOD_S = 0.1


def take(share: float, core: int) -> None:
    """Try to use the core for `share` of the time; never returns."""
    os.sched_setaffinity(0, {core})
    while True:
        end = time.process_time() + PERIOD_S * share
        while time.process_time() < end:
            pass
        time.sleep(PERIOD_S * (1 - share))


def demo(clone: Path) -> dict[str, object]:
    """Run the command once; return its duration and result."""
    caches = {"VMAPBENCH_CACHE": clone.parent / "cache", "CCACHE_DIR": clone.parent / "ccache"}
    environment = {**os.environ, **{name: str(place) for name, place in caches.items()}}
    load, began = os.getloadavg()[0], time.monotonic()
    done = subprocess.run(
        ["make", "demo"], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    elapsed_s = round(time.monotonic() - began, 1)
    answer = done.stdout.strip().split("\n\n")[0].replace("\n", " ")
    return {"elapsed_s": elapsed_s, "exit": done.returncode, "load": load, "answer": answer}


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=float, default=0.0)
    parser.add_argument("--folder", type=Path, help="for clone and caches; kept")
    chosen = parser.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="vmapbench-demo-"))
    subprocess.run(["git", "clone", "-q", REPOSITORY, folder / "clone"], check=True)
    cores = sorted(os.sched_getaffinity(0)) if chosen.busy else []
    others = [
        multiprocessing.Process(target=take, args=(chosen.busy, core), daemon=True)
        for core in cores
    ]
    for other in others:
        other.start()
    for run in ("from nothing", "second time"):
        print(json.dumps({"run": run, "busy": chosen.busy, **demo(folder / "clone")}), flush=True)
    for other in others:
        other.terminate()


if __name__ == "__main__":
    main()
