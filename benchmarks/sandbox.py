"""Measures the cost of the sandbox of builds: `python -m benchmarks.sandbox [KERNEL [PAIRS]]`

Builds KERNEL (default: single-node) with another code layout, so that two files of mm/ and
init/main.c are compiled and the kernel is linked, alternately outside and inside the sandbox,
without ccache. The other objects are those of the cached build of KERNEL, which is built first if
it is missing. The kernels that are built here are removed.
"""

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec

KERNELS = Path(__file__).parents[1] / "kernels"
FIRST_LAYOUT = 900  # not used by measurements


def main(name: str = "single-node", pairs: str = "1") -> None:
    os.environ["CCACHE_DISABLE"] = "1"
    runner, cache = SubprocessRunner(), Cache(cache_folder())
    spec = load_kernel_spec(name, KERNELS)
    ensure_kernel(spec, cache, runner, lambda _: None)
    for number in range(int(pairs)):
        kinds = ["none", "required"]
        spent = {}
        for at, kind in enumerate(kinds if number % 2 == 0 else kinds[::-1]):
            changes = {"layout": FIRST_LAYOUT + 2 * number + at, "sandbox": kind}
            spent[kind] = build(spec.model_copy(update=changes), cache, runner)
        print(
            f"none {spent['none']:.1f} s, required {spent['required']:.1f} s, ratio "
            f"{spent['required'] / spent['none']:.2f}; load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def build(spec, cache, runner):
    """Return the seconds of a build, and remove it."""
    started = time.monotonic()
    built = ensure_kernel(spec, cache, runner, lambda _: None)
    spent_s = time.monotonic() - started
    assert built.contained == (spec.sandbox == "required")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(built.folder)
    return spent_s


if __name__ == "__main__":
    main(*sys.argv[1:])
