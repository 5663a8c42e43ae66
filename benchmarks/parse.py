"""Measures the speed of parsing kernel logs: `python -m benchmarks.parse [LOG]`

LOG is a real log of test_vmalloc (default: one of the test data). Its worker 0 is multiplied to 64
workers x 11 cases, the 768 lines of a large machine. The logs are these lines alone, with as many
and ten times as many lines of other drivers, those lines alone, and as many KTAP results. Each log
is parsed repeatedly, and as part of a text of 20 MB. CPU time, best of three.
"""

import re
import sys
import time
from pathlib import Path

from harness.testmod.ktap import parse_ktap
from harness.testmod.log import parse_log
from harness.testmod.verdicts import scan_console

LOG = Path("tests/unit/testmod/logs/6.12-four-workers-then-two.log")
MODULE_LINE = re.compile(r"Summary: |All test took worker")
TARGET_BYTES = 20_000_000


def texts(log):
    """Yield (name, text, number of times to read it)."""
    lines = log.splitlines(keepends=True)
    module = [line for line in lines if MODULE_LINE.search(line)][:12]
    others = [line for line in lines if not MODULE_LINE.search(line)]
    run = "".join(
        re.sub(r"worker\d+=", f"worker{worker}=", "".join(module)) for worker in range(64)
    )
    noise = "".join(others[n % len(others)] for n in range(768))
    for name, unit in (
        ("768 lines of the module", run),
        ("and as many of other drivers", noise + run),
        ("and ten times as many", noise * 10 + run),
        ("other drivers alone", noise),
        ("KTAP, a result a line", ktap_lines(768)),
    ):
        times = TARGET_BYTES // len(unit)
        yield f"{name}, {len(unit) / 1000:.0f} kB", unit, times
        yield f"  {times} of them in one text", unit * times, 1


def ktap_lines(results):
    suites = "".join(
        f"[   12.345678]     ok {number % 12 + 1} some_case_of_a_suite_{number}\n"
        + (f"[   12.345678] ok {number // 12 + 1} a_suite\n" if number % 12 == 11 else "")
        for number in range(results)
    )
    return f"[   12.345678] KTAP version 1\n[   12.345678] 1..{results // 12}\n{suites}"


def speed(read, text, times):
    """Return MB of text per second of CPU time, for reading `text` `times` times."""
    elapsed_s = []
    for _ in range(3):
        started = time.process_time()
        for _ in range(times):
            read(text)
        elapsed_s.append(time.process_time() - started)
    return len(text) * times / 1e6 / min(elapsed_s)


def main():
    log = Path(sys.argv[1]) if sys.argv[1:] else LOG
    readers = (parse_log, scan_console, parse_ktap)
    print(f"{'MB/s':<40}" + "".join(f"{read.__name__:>16}" for read in readers))
    for name, text, times in texts(log.read_text(encoding="utf-8", errors="replace")):
        print(
            f"{name:<40}" + "".join(f"{speed(read, text, times):>16.0f}" for read in readers),
            flush=True,
        )


if __name__ == "__main__":
    main()
