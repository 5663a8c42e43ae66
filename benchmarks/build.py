"""Measures the time of builds: `python -m benchmarks.build [FIRST [SECOND ...]]`

Builds the kernels (default: vmap-nodes, then single-node) with empty kernel and compiler caches:
the first from scratch, the second from the first one's objects. Then runs `vmapbench build` for all
of them again, from the cache.
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from harness.build.cache import Cache
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec

KERNELS = Path(__file__).parents[1] / "kernels"


def main(names: list[str]) -> None:
    runner = SubprocessRunner()
    with tempfile.TemporaryDirectory(prefix="vmapbench-build.", dir=Path.cwd()) as folder:
        os.environ["CCACHE_DIR"] = f"{folder}/ccache"
        os.environ["VMAPBENCH_CACHE"] = f"{folder}/cache"
        cache = Cache(Path(folder) / "cache")
        first_s = 0.0
        for name in names:
            spec, phases = load_kernel_spec(name, KERNELS), {}
            started, worked = time.monotonic(), _cpu_s()
            ensure_kernel(spec, cache, runner, lambda at, seen=phases: _note(seen, at.phase))
            elapsed_s = time.monotonic() - started
            first_s = first_s or elapsed_s
            ended = [*list(phases.values())[1:], time.monotonic()]
            parts = ", ".join(
                f"{phase} {end - begin:.1f} s"
                for (phase, begin), end in zip(phases.items(), ended, strict=True)
            )
            print(f"{name}: {elapsed_s:.1f} s ({elapsed_s / first_s:.0%} of the first): {parts}")
            print(f"    CPU time {_cpu_s() - worked:.1f} s, load average {os.getloadavg()[0]:.1f}")
        started, worked = time.monotonic(), _cpu_s()
        argv = [sys.executable, "-c", "from harness.cli.main import main; main()", "build"]
        runner.run([*argv, *names, f"--kernels={KERNELS}"], check=True)
        elapsed_s = time.monotonic() - started
        print(f"{len(names)} cached: {elapsed_s:.2f} s, CPU time {_cpu_s() - worked:.2f} s")


def _cpu_s() -> float:
    """Return the CPU time of ended child processes, which other programs affect less."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _note(phases: dict[str, float], phase: str) -> None:
    phases.setdefault(phase, time.monotonic())


if __name__ == "__main__":
    main(sys.argv[1:] or ["vmap-nodes", "single-node"])
