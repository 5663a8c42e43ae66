"""Runs the benchmarks named on the command line, or all of those that need no further words."""

import pkgutil
import subprocess
import sys

import benchmarks

# These take minutes to hours: call them by name.
NEED_WORDS = {"simulated", "build", "bisection", "demo", "nightly", "rebuild", "sandbox"}


def main() -> None:
    found = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    names = sys.argv[1:] or [n for n in found if n != "__main__" and n not in NEED_WORDS]
    for name in names:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


main()
