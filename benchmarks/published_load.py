"""Estimates the time of the whole published load on the simulated machine from windows of detail.

    python -m benchmarks.published_load [--kernel single-node vmap-nodes] [--cpus 64] [--error 0.05]
    python -m benchmarks.published_load --page

The first form boots each kernel with the published load (three cases, a million loops, shuffled),
ends it as soon as the estimate is as certain as asked, and adds a line to the data file, in which a
later line of the same kernel, CPUs and machine replaces an earlier one. The second writes the
tables of docs/results/published-curve.md.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import write_between
from benchmarks.simulated import REPOSITORY, symbols_of
from harness.build.cache import cache_folder
from harness.build.kernel import BuiltKernel, ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec
from harness.targets.base import BootRequest
from harness.targets.simulated.machine import load_machine
from harness.targets.simulated.profile import Window, lock_waits, shares
from harness.targets.simulated.sampling import (
    CASES,
    Sampling,
    find_sites,
    first_steady,
    judge_of,
    read_windows,
    steady_windows,
)
from harness.targets.simulated.spec import SimulatedSpec
from harness.targets.simulated.target import SimulatedTarget, SimulationOptions
from harness.targets.symbols import SLOW_PATHS, Symbols
from harness.testmod.cases import BY_SHORT_NAME, lazy_max_pages

RESULTS = REPOSITORY / "docs" / "results"
DATA = RESULTS / "data" / "published-load.jsonl"
PAGE = RESULTS / "published-curve.md"
BEGIN, END = "<!-- made by benchmarks.published_load: begin -->", "<!-- end of the load -->"
AFTER = "vmap-nodes"
# Wall time in s and share of the slow path, version 3 of the series (2 January 2024).
PUBLISHED = {"before": (651.271, 0.9307), "after": (51.301, 0.1651)}
PUBLISHED_RATIO = "12.69"  # as its author rounds it
HOST_S = 3600.0


def memory_mib(cpus: int, mask: int) -> int:
    """Return what a guest needs in which every worker holds what it prepares at once."""
    areas = 2 * lazy_max_pages(cpus) if mask & BY_SHORT_NAME["full_fit"].mask else 16_000
    return 1024 + 16 * cpus + cpus * areas * 5 // 1024  # 4 KiB each, and 1 KiB for what it is


def boot(options: argparse.Namespace, kernel: BuiltKernel, folder: Path) -> dict[str, Any]:
    """Boot once until the windows are steady; return the row of the boot."""
    machine = load_machine(options.machine)
    sampling = Sampling(
        options.window_ms,
        options.warm_ms,
        options.gap,
        options.prepare_gap,
        options.error,
        options.within_s,
    )
    target = SimulatedTarget(
        SimulatedSpec(kind="simulated", cpus=options.cpus),
        cache_folder(),
        SubprocessRunner(),
        machine,
        SimulationOptions(seed=options.seed, sampling=sampling),
    )
    target.check()
    load = (
        f"nr_threads={options.cpus} run_test_mask={options.mask} test_loop_count={options.loops}"
        f" sequential_test_order={options.sequential}"
    )
    memory = memory_mib(options.cpus, options.mask)
    request = BootRequest(kernel, options.cpus, (load,), memory, HOST_S, folder)
    began = time.monotonic()
    result = target.boot(request, lambda _: None)
    host_s = time.monotonic() - began
    windows, judge = read_windows(folder), judge_of(request)
    found = first_steady(windows, judge, sampling.error)
    estimate = found or judge(windows)
    sites = find_sites(kernel.module.read_bytes())
    return {
        "kernel": kernel.spec.name,
        "cpus": options.cpus,
        "machine": options.machine,
        "seed": options.seed,
        "load": load,
        "sampling": vars(sampling),
        "ending": result.facts["ending"],
        "steady": found is not None,
        "worker_s": round(estimate.worker_s, 3),
        "half_s": round(estimate.half_s, 3),
        "case_s": {case: round(time_s, 3) for case, time_s in estimate.case_s.items()},
        "turn_ns": {" ".join(key): round(ns) for key, ns in estimate.turn_ns.items()},
        "unseen": [" ".join(key) for key in estimate.unseen],
        "windows": len(windows),
        "steady_windows": estimate.windows,
        **spent(steady_windows(windows, sites), symbols_of(kernel)),
        "ready_s": result.facts.get("ready_s"),
        "host_s": round(host_s, 1),
    }


def spent(windows: Sequence[Window], symbols: Symbols) -> dict[str, Any]:
    """Return the share of the slow path in all CPU time, and where the locks were taken."""
    samples = [sample for window in windows for sample in window.samples]
    by_function = shares(samples, symbols)
    whole = sum(ticks for _, ticks in samples)
    waits = lock_waits([wait for window in windows for wait in window.waits], symbols, whole)
    return {
        "spin_share": round(sum(by_function.get(name, 0.0) for name in SLOW_PATHS), 4),
        "self": {name: round(share, 4) for name, share in list(by_function.items())[:8]},
        "waits": {name: round(share, 4) for name, share in list(waits.items())[:5]},
    }


def measured(lines: Iterable[str]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Return the last row of each kernel, CPUs and machine."""
    rows = [json.loads(line) for line in lines]
    return {(row["kernel"], row["cpus"], row["machine"]): row for row in rows}


def ratio(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ratio of two estimates, and half of its interval."""
    quotient = before["worker_s"] / after["worker_s"]
    errors = [row["half_s"] / row["worker_s"] for row in (before, after)]
    return quotient, quotient * sum(error**2 for error in errors) ** 0.5


def tables(rows: Mapping[tuple[str, int, str], Mapping[str, Any]]) -> str:
    """Return the tables: each kernel's estimate beside the published time, and its loops."""
    lines = [
        "| kernel | machine | CPUs | a worker's time | ratio | slow path | windows | host time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for side, (time_s, share) in PUBLISHED.items():
        beside = PUBLISHED_RATIO if side == "before" else ""
        lines.append(f"| published, {side} | | 64 | {time_s:,.1f} s | {beside} | {share:.1%} | | |")
    turns = [
        "| kernel | CPUs | " + " | ".join(case.removesuffix("_test") for case in CASES) + " |",
        "|" + "---|" * (2 + len(CASES)),
    ]
    for (kernel, cpus, machine), row in sorted(rows.items()):
        after = rows.get((AFTER, cpus, machine))
        beside = ""
        if after and kernel != AFTER:
            quotient, half = ratio(row, after)
            beside = f"**{quotient:.2f}** ± {half:.2f}"
        steady = "" if row["steady"] else ", not steady"
        lines.append(
            f"| {kernel} | {machine} | {cpus} | {row['worker_s']:,.1f} ± {row['half_s']:.1f} s "
            f"| {beside} | {row['spin_share']:.1%} | {row['steady_windows']}{steady} "
            f"| {row['host_s'] / 60:.1f} min |"
        )
        cells = [f"{row['turn_ns'].get(f'{case} loop', 0):,}" for case in CASES]
        turns.append(f"| {kernel} | {cpus} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "A turn of each loop as its worker sees it, ns:", "", *turns])


def write_page() -> None:
    """Put the tables between the marks of the page."""
    text = DATA.read_text(encoding="utf-8") if DATA.is_file() else ""
    body = tables(measured(text.splitlines()))
    write_between(PAGE, BEGIN, END, f"{body}\n")


def parse_options() -> argparse.Namespace:
    """Return what the command line says."""
    default = Sampling()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kernel", nargs="*", default=["single-node", AFTER])
    parser.add_argument("--cpus", type=int, default=64)
    parser.add_argument("--loops", type=int, default=1_000_000)
    parser.add_argument("--mask", type=int, default=7)
    parser.add_argument("--sequential", type=int, default=0)
    parser.add_argument("--machine", default="threadripper-3970x")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--error", type=float, default=default.error)
    parser.add_argument("--within-s", type=float, default=600, help="of host time, a side")
    parser.add_argument("--window-ms", type=float, default=default.window_ms)
    parser.add_argument("--warm-ms", type=float, default=default.warm_ms)
    parser.add_argument("--gap", type=int, default=default.gap, help="turns between windows")
    parser.add_argument("--prepare-gap", type=int, default=default.prepare_gap)
    parser.add_argument("--keep", type=Path, help="folder for the logs")
    parser.add_argument("--no-record", action="store_true", help="print the row only")
    parser.add_argument("--page", action="store_true", help="write the page from the data file")
    return parser.parse_args()


def main() -> None:
    """Boot what is asked for, or write the page."""
    options = parse_options()
    if options.page:
        write_page()
        return
    for name in options.kernel:
        spec = load_kernel_spec(name, REPOSITORY / "kernels")
        kernel = ensure_kernel(spec, cache_folder(), SubprocessRunner(), lambda _: None)
        with tempfile.TemporaryDirectory() as scratch:
            folder = (options.keep or Path(scratch)) / name
            folder.mkdir(parents=True)
            row = boot(options, kernel, folder)
        print(json.dumps(row), flush=True)
        if not options.no_record:
            with DATA.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
