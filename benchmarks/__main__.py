"""Runs the benchmarks named on the command line, or all that run without arguments."""

import pkgutil
import subprocess
import sys

import benchmarks

# These take minutes to hours, so they run only by name.
NEED_WORDS = {"simulated", "build", "bisection", "demo", "nightly", "rebuild", "sandbox"}
NEED_WORDS |= {"published_curve", "published_load"}
NO_BENCHMARKS = {"__main__", "pages"}


def main() -> None:
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    names = sys.argv[1:] or [n for n in found if n not in NEED_WORDS | NO_BENCHMARKS]
    for name in names:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


main()
