"""The guest's clock against real programs that share a core."""

import os
import sys
import time

from harness.targets.guestclock import GuestClock

BUSY = [sys.executable, "-c", "while True: pass"]


def test_the_clock_of_a_starved_program_runs_slower_than_the_host_s(runner):
    core = min(os.sched_getaffinity(0))
    programs = [runner.spawn(["taskset", "-c", str(core), *BUSY]) for _ in range(3)]
    try:
        time.sleep(0.5)
        starved = programs[0].pid
        clock, began = GuestClock(starved, [starved], 1), time.monotonic()
        while time.monotonic() - began < 3:
            elapsed_s = clock.elapsed_s()
            time.sleep(0.05)
    finally:
        for program in programs:
            program.kill()
    assert 0.1 < elapsed_s < 2  # about a third; less where the host has other work
