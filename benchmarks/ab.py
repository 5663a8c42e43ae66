"""Measures the build time of the second `vmapbench ab`: `python -m benchmarks.ab [TREE]`

Compares HEAD with a change to mm/vmalloc.c in a kernel's git tree (default: a tree created from
Debian's linux-source-6.12), then changes another line of that file and compares again. Measures the
second call up to its first boot: finding both sides and building the new one.
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.build.kernel import ensure_kernel
from harness.build.sides import find_sides
from harness.process import SubprocessRunner
from harness.run.ab import Options, plan_ab
from harness.scratch import scratch_folder
from harness.spec.kernel import load_kernel_spec

ARCHIVE = Path("/usr/src/linux-source-6.12.tar.xz")


def main(words: list[str]) -> None:
    runner, cache = SubprocessRunner(), Cache(cache_folder())
    with tempfile.TemporaryDirectory(prefix="vmapbench-ab.", dir=Path.cwd()) as folder:
        tree = Path(words[0]) if words else _tree(Path(folder), runner)
        source = tree / "mm/vmalloc.c"
        kept = source.read_text()
        try:
            for number in (1, 2):
                source.write_text(f"{kept}\n/* {time.time()} */\nint changed_{number};\n")
                print(f"call {number}:")
                _compare(tree, cache, runner)
        finally:
            source.write_text(kept)


def _tree(folder: Path, runner: SubprocessRunner) -> Path:
    runner.run(["tar", "xf", str(ARCHIVE), "-C", str(folder)], check=True)
    tree = next(folder.iterdir())
    who = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@example.org"]
    for words in (["init", "-q"], ["add", "-A", "-f"], [*who, "commit", "-q", "-m", "Linux 6.12"]):
        runner.run(["git", "-C", str(tree), *words], check=True)
    return tree


def _compare(tree: Path, cache: Cache, runner: SubprocessRunner) -> None:
    started, worked = time.monotonic(), _cpu_s()
    sides = find_sides(tree, "", "", "", cache, runner)
    with scratch_folder("ab") as scratch:
        plan = plan_ab(sides, Options(on="simulated"), cache, runner)
        kernels = plan.write(scratch).parent / "kernels"
        print(f"  finding the sides {time.monotonic() - started:.1f} s")
        for name in plan.playbook.kernels:
            phases = [("asking the cache", time.monotonic(), _cpu_s())]
            spec = load_kernel_spec(name, kernels)
            ensure_kernel(spec, cache, runner, lambda at, seen=phases: _note(seen, at.phase))
            ended = [*phases[1:], ("", time.monotonic(), _cpu_s())]
            parts = (
                f"{phase} {end - begin:.1f} s ({after - before:.1f} s of CPU)"
                for (phase, begin, before), (_, end, after) in zip(phases, ended, strict=True)
            )
            print(f"  {name}: {', '.join(parts)}")
    load = os.getloadavg()[0]
    print(
        f"  together {time.monotonic() - started:.1f} s, CPU time {_cpu_s() - worked:.1f} s, "
        f"load average {load:.1f}"
    )


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _note(phases: list[tuple[str, float, float]], phase: str) -> None:
    if phases[-1][0] != phase:
        phases.append((phase, time.monotonic(), _cpu_s()))


if __name__ == "__main__":
    main(sys.argv[1:])
