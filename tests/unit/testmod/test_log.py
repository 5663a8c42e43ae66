import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Sample
from harness.testmod.log import (
    ModuleLog,
    WorkerTotal,
    missing_lines,
    missing_without_workload,
    parse_log,
    unexpected_failures,
)

LOGS = Path(__file__).parent / "logs"
NAMES = ("fix_size_alloc_test", "full_fit_alloc_test", "align_shift_alloc_test", "vrealloc_test")
NOISE = "[    1.5] usb 1-1: new high-speed device\n"


def render(run):
    lines = [f"Failed to start {worker} kthread" for worker in run.failed_workers]
    for total in run.totals:
        for item in run.summaries:
            if item.worker == total.worker:
                xfailed = "" if item.xfailed is None else f" xfailed: {item.xfailed}"
                lines.append(
                    f"Summary: {item.case} passed: {item.passed} failed: {item.failed}{xfailed}"
                    f" repeat: {item.repeat} loops: {item.loops} avg: {item.avg_us} usec"
                )
        lines.append(f"All test took worker{total.worker}={total.value} {total.unit}")
    return lines


@st.composite
def module_logs(draw):
    workers, repeat = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    loops = draw(st.integers(1, 10**9))
    cases = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    counts = st.integers(0, 10**6)
    xfailed = draw(st.sampled_from([None, 0, 3]))
    return ModuleLog(
        tuple(
            Sample(worker, case, draw(counts), draw(counts), xfailed, repeat, loops, draw(counts))
            for worker in range(workers)
            for case in cases
        ),
        tuple(WorkerTotal(worker, draw(st.integers(0, 2**64 - 1))) for worker in range(workers)),
        tuple(draw(st.lists(st.integers(0, 99), max_size=2))),
    )


PREFIXES = [
    "",
    "[    1.234567] ",
    "[    1.234567][  T49] ",
    "<6>[    1.234567] ",
    "[Mon Nov 23 03:00:00 2026] ",
    "Nov 23 03:00:00 host kernel: ",
    "2026-11-23T03:00:00+0000 host kernel: ",
    "Nov 23 03:00:00.123456 host kernel: [    1.2] ",
    "6,339,5140900,-;",
    "\x1b[32m[    1.234567] \x1b[0m\x1b[33m",
]


@given(
    st.lists(module_logs(), min_size=1, max_size=3),
    st.sampled_from(PREFIXES),
    st.sampled_from(["\n", "\r\n", "\n" + NOISE]),
)
def test_runs_survive_rendering_in_any_dress(runs, prefix, ending):
    text = ""
    for run in runs:
        text += f"{prefix}Linux version 6.12.1{ending}"
        text += "".join(f"{prefix}{line}{ending}" for line in render(run))
    assert parse_log(text) == runs


@given(module_logs())
def test_without_a_boot_in_between_a_repeated_worker_begins_a_run(run):
    lines = "\n".join(render(run))
    assert parse_log(lines + "\n" + lines) == [run, run]


@given(st.text())
def test_no_text_makes_it_raise(text):
    missing = [missing_without_workload(run) for run in parse_log(text)]
    assert isinstance(missing, list)


WORDS = "Summary: |All test took worker|=|1| cycles|Failed to start | kthread|fix_size_alloc_test"
WORDS += "| passed: | failed: | repeat: | loops: | avg: | usec|\n|[ 1.0]|Linux version 6|99999"


@given(st.lists(st.sampled_from(WORDS.split("|")), max_size=60))
def test_no_pieces_of_the_modules_lines_make_it_raise(pieces):
    for run in parse_log("".join(pieces)):
        missing_without_workload(run)


@given(module_logs(), st.data())
def test_a_line_broken_by_another_driver_is_joined_or_missing_but_never_wrong(run, data):
    lines = [f"[    1.2] {line}" for line in render(run)]
    number = data.draw(st.integers(0, len(lines) - 1))
    cut = data.draw(st.integers(1, len(lines[number]) - 1))
    line = lines[number]
    lines[number] = f"{line[:cut]}{NOISE}{line[cut:]}"
    known = {(item.case, item.avg_us, item.passed) for item in run.summaries}
    for found in parse_log("\n".join(lines)):
        assert {(item.case, item.avg_us, item.passed) for item in found.summaries} <= known
        assert set(found.totals) <= set(run.totals)


@pytest.mark.parametrize("prefix", ["", "2025-01-01T00:00:00 ", "Nov 23 03:00:09 lab1 kernel: "])
@pytest.mark.parametrize("worker", ["worker", "CPU"])
def test_a_line_broken_between_words_is_joined(prefix, worker):
    text = f"{prefix}[ 1.0] Summary: fix_size_alloc_test passed: 1 fai{NOISE}"
    text += f"{prefix}led: 0 repeat: 1 loops: 20 avg: 495 usec\n"
    text += f"{prefix}[ 1.1] All test took {worker}0={NOISE}{prefix}7 cycles\n"
    assert parse_log(text) == [
        ModuleLog((Sample(0, "fix_size_alloc_test", 1, 0, None, 1, 20, 495),), (WorkerTotal(0, 7),))
    ]


def test_a_number_broken_in_its_digits_is_missing():
    text = "[ 1.0] All test took worker0=71" + NOISE + "10 cycles\n"
    (run,) = parse_log(text)
    assert run.totals == ()
    assert [line[:31] for line in run.not_understood] == ["All test took worker0=71[    1."]


def test_what_is_missing_is_named():
    (run,) = parse_log(
        "Failed to start 3 kthread\n"
        "Summary: fix_size_alloc_test passed: 1 failed: 0 repeat: 1 loops: 2 avg: 3 usec\n"
        "All test took worker0=7 cycles\n"
        "Summary: fix_size_alloc_test passed: 1 failed: 0 repeat: 1 loops: 2 avg: 3 usec\n"
    )
    assert missing_lines(run, 6, ("fix_size_alloc_test", "pcpu_alloc_test")) == [
        "worker 3 could not be started",
        "4 of 6 workers are missing: 2-5",
        "worker 0: no summary of pcpu_alloc_test",
        "worker 1: no summary of pcpu_alloc_test",
        "worker 1: no total",
    ]
    assert missing_without_workload(run) == [
        "worker 3 could not be started",
        "worker 1: no total",
    ]


@given(module_logs(), st.data())
def test_a_complete_run_misses_nothing_and_any_line_less_is_missed(run, data):
    workers, cases = len(run.totals), run.cases
    complete = ModuleLog(run.summaries, run.totals)
    assert missing_lines(complete, workers, cases) == []
    lines = render(complete)
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    left = parse_log("\n".join(lines)) or [ModuleLog()]
    assert len(left) > 1 or missing_lines(left[0], workers, cases)


def test_only_failures_that_are_not_meant_count():
    (run,) = parse_log((LOGS / "6.12-four-workers-then-two.log").read_text())[:1]
    assert {item.case for item in run.summaries if item.failed} == {"align_shift_alloc_test"}
    assert unexpected_failures(run.summaries) == []


@pytest.mark.parametrize("log", sorted(LOGS.glob("*.log")), ids=lambda log: log.stem)
def test_the_corpus_gives_what_stands_beside_it(log):
    runs = parse_log(log.read_bytes().decode(errors="replace"))
    found = [
        {**asdict(run), "summaries": [item._asdict() for item in run.summaries]} for run in runs
    ]
    assert json.loads(json.dumps(found)) == json.loads(log.with_suffix(".json").read_text())


@pytest.mark.parametrize(
    "text",
    ["Summary: " * 60_000, "Summary: a_test \n" * 30_000, "All test took worker" * 30_000],
    ids=["heads in one line", "broken lines", "broken totals"],
)
def test_hostile_logs_end(text):
    assert not any(run.summaries or run.totals for run in parse_log(text))
