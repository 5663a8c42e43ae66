"""How fast are kernel logs read? `python -m benchmarks.parse [LOG]`

LOG is a real log of test_vmalloc (by default one of the test corpus). Its worker 0 is multiplied to
64 workers x 11 cases, the 768 lines of a large machine, and repeated to tens of megabytes: alone,
with as many lines of other drivers, with ten times as many, and other drivers' lines alone.
Processor time, best of three.
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
    """Yield (name, text)."""
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
    ):
        yield name, unit * (TARGET_BYTES // len(unit))


def speed(read, text):
    """Return MB of text per second of processor time."""
    elapsed_s = []
    for _ in range(3):
        started = time.process_time()
        read(text)
        elapsed_s.append(time.process_time() - started)
    return len(text) / 1e6 / min(elapsed_s)


def main():
    log = Path(sys.argv[1]) if sys.argv[1:] else LOG
    readers = (parse_log, scan_console, parse_ktap)
    print(f"{'MB/s':<32}" + "".join(f"{read.__name__:>16}" for read in readers))
    for name, text in texts(log.read_text(encoding="utf-8", errors="replace")):
        print(
            f"{name:<32}" + "".join(f"{speed(read, text):>16.0f}" for read in readers), flush=True
        )


if __name__ == "__main__":
    main()
