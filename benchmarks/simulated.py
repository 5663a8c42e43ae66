"""Measures the simulated machine: results for the published workload, ablations, host time.

    python -m benchmarks.simulated KERNEL [--cpus 64] [--loops 4000] [--mask 1] ...

KERNEL is a shipped kernel, built if it is not in the cache. With more than one value of --nodes it
has to have kernels/patches/vmap-nodes-limit (`node-limit`), so that one binary is both sides.
Prints one JSON line for each boot.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness.build.cache import cache_folder
from harness.build.kernel import BuiltKernel, ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec
from harness.targets.base import BootRequest
from harness.targets.simulated.machine import MachineModel, load_machine, ticks_of_ns
from harness.targets.simulated.profile import lock_waits, parse_counts, parse_windows, shares
from harness.targets.simulated.spec import SimulatedSpec as Spec
from harness.targets.simulated.target import SimulatedTarget, SimulationOptions
from harness.targets.symbols import SLOW_PATHS, Symbols, parse_system_map
from harness.testmod.log import parse_log

REPOSITORY = Path(__file__).parents[1]


def kernel_of(options: argparse.Namespace) -> BuiltKernel:
    """Return the kernel of the command line, built if the cache does not have it."""
    spec = load_kernel_spec(options.kernel, REPOSITORY / "kernels")
    return ensure_kernel(spec, options.cache, SubprocessRunner(), lambda _: None)


def limited(kernel: BuiltKernel, nodes: int | None) -> BuiltKernel:
    """Return `kernel` with a boot parameter that limits the vmap nodes (None: one per CPU)."""
    limit = (f"vmap_nodes={nodes}",) if nodes else ()
    parameters = (*kernel.spec.boot_parameters, *limit)
    return replace(kernel, spec=kernel.spec.model_copy(update={"boot_parameters": parameters}))


def machine_of(options: argparse.Namespace) -> MachineModel:
    """Return the machine model of --machine with the changes of --model."""
    machine = load_machine(options.machine)
    changes = {key: json.loads(value) for key, value in changes_of(options).items()}
    return machine.model_validate_json(json.dumps({**machine.model_dump(), **changes}))


def changes_of(options: argparse.Namespace) -> dict[str, str]:
    return dict(word.split("=") for word in options.model)


def switches_of(options: argparse.Namespace) -> dict[str, int]:
    return {key: int(value) for key, value in (word.split("=") for word in options.switch)}


def target_of(
    options: argparse.Namespace, machine: MachineModel, kernel: BuiltKernel
) -> SimulatedTarget:
    counted = tuple(symbols_of(kernel).address_of(place) for place in options.count)
    return SimulatedTarget(
        Spec(kind="simulated", cpus=options.cpus, boot_parameters=tuple(options.boot)),
        options.cache,
        SubprocessRunner(),
        machine,
        SimulationOptions(
            options.seed,
            tuple(switches_of(options).items()),
            options.window_ms,
            counted,
            options.hypervisor,
        ),
    )


def loads_of(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the module parameters of each load: the warm-up if there is one, and the measured."""
    loops = ([options.warmup] if options.warmup else []) + [options.loops]
    return tuple(
        f"nr_threads={options.threads or options.cpus} run_test_mask={options.mask}"
        f" test_loop_count={count} sequential_test_order={options.sequential}"
        for count in loops
    )


def mean_times_us(kernel_log: str) -> dict[str, float]:
    """Return the mean `avg` (us) over the workers of the last load, by case."""
    by_case: dict[str, list[int]] = {}
    for line in parse_log(kernel_log)[-1].summaries:
        by_case.setdefault(line.case, []).append(line.avg_us)
    return {case: statistics.fmean(times) for case, times in by_case.items()}


def measure(
    options: argparse.Namespace, kernel: BuiltKernel, nodes: int | None
) -> dict[str, object]:
    """Boot once with `nodes` vmap nodes (None: one per CPU) and return the row of the boot."""
    machine = machine_of(options)
    target = target_of(options, machine, kernel)
    target.check()
    loads = loads_of(options)
    folder = Path(options.keep or tempfile.mkdtemp()) / f"nodes-{nodes or 'all'}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    memory = options.memory or 512 + 16 * options.cpus
    request = BootRequest(limited(kernel, nodes), options.cpus, loads, memory, 3600, folder)
    load_before, began = os.getloadavg()[0], time.time()
    result = target.boot(request, lambda _: None)
    marks = parse_counts((folder / "counts.txt").read_text(encoding="ascii"))
    host_s = [round((b["host_ms"] - a["host_ms"]) / 1000, 1) for a, b in itertools.pairwise(marks)]
    profile = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    times_us = mean_times_us(result.kernel_log or "")
    return {
        "machine": machine.name,
        "model": changes_of(options),
        "switches": switches_of(options),
        "seed": options.seed,
        "boot": options.boot,
        "cpus": options.cpus,
        "nodes": nodes,
        "loads": loads,
        "verdict": f"{result.verdict} {result.reason}",
        "mean_us": {case: round(time_us, 1) for case, time_us in times_us.items()},
        "sum_us": round(sum(times_us.values()), 1),
        "load_ms": [ns / 1e6 for ns in result.load_ns],
        "spin_share": round(profile["spin_share"], 4),
        "self": dict(list(profile["self"].items())[:6]),
        "boot_host_s": round(marks[0]["host_ms"] / 1000 - began, 1),
        "loads_host_s": host_s[:-1:2],
        "whole_host_s": round(result.elapsed_s, 1),
        "host_load": load_before,
        "counts": profile["counts"],
        "windows": windows_in(folder, symbols_of(kernel), machine),
    }


def symbols_of(kernel: BuiltKernel) -> Symbols:
    return parse_system_map(kernel.system_map.read_text(encoding="ascii"))


def windows_in(folder: Path, symbols: Symbols, machine: MachineModel) -> list[dict[str, object]]:
    """Return one row per window of virtual time: counts, spinning, and the locks waited for."""
    if not (folder / "windows.txt").is_file():
        return []
    rows: list[dict[str, object]] = []
    since_ns = 0
    for window in parse_windows((folder / "windows.txt").read_text(encoding="ascii")):
        by_function = shares(window.samples, symbols)
        whole = sum(ticks for _, ticks in window.samples)
        waits = lock_waits(window.waits, symbols, whole)
        length = ticks_of_ns(window.until_ns - since_ns, machine)
        rows.append(
            {
                "until_ms": round(window.until_ns / 1e6, 3),
                "busy_cpus": round(whole / length, 2),
                "executed": window.executed,
                "spin_share": round(sum(by_function.get(name, 0.0) for name in SLOW_PATHS), 4),
                "waits": {name: round(share, 4) for name, share in list(waits.items())[:5]},
                "self": {name: round(share, 4) for name, share in list(by_function.items())[:12]},
            }
        )
        since_ns = window.until_ns
    return rows


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel")
    parser.add_argument("--cpus", type=int, default=64)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--loops", type=int, default=4000)
    parser.add_argument("--warmup", type=int, help="loops of a load before the measured one")
    parser.add_argument("--mask", type=int, default=1)
    parser.add_argument("--sequential", type=int, default=1)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 0], help="0: one per CPU")
    parser.add_argument("--machine", default="threadripper-3970x")
    parser.add_argument("--model", nargs="*", default=[], help="KEY=JSON of the machine file")
    parser.add_argument("--switch", nargs="*", default=[], help="NAME=NUMBER of the plugin")
    parser.add_argument("--boot", nargs="*", default=[], help="kernel boot parameters")
    parser.add_argument(
        "--hypervisor", action="store_true", help="CPUs say that they are a guest's"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window-ms", type=float, default=0, help="profiles of such stretches")
    parser.add_argument(
        "--count", nargs="*", default=[], help="NAME or NAME+0xOFFSET: executions, by window"
    )
    parser.add_argument("--memory", type=int, help="MiB")
    parser.add_argument("--keep", help="folder for the logs")
    parser.add_argument("--cache", type=Path, default=cache_folder())
    return parser.parse_args()


if __name__ == "__main__":
    chosen = parse_options()
    sums = []
    built = kernel_of(chosen)
    for count in chosen.nodes:
        row = measure(chosen, built, count or None)
        sums.append(row["sum_us"])
        print(json.dumps(row), flush=True)
    if len(sums) == 2 and sums[1]:
        print(json.dumps({"ratio": round(float(sums[0]) / float(sums[1]), 3)}))
