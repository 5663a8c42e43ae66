import errno

import pytest

from harness.guest.frames import Frame
from harness.targets.outcome import Ending, judge_guest
from harness.verdict import Verdict

READY = Frame("ready", "release=6.12 cpus=2 clocksource=tsc", True)
LOADED = Frame("load", f"errno={errno.EAGAIN} elapsed_ns=1500", True)
LOG = Frame("log", "[0.1] vmalloc: vmap nodes: 2 (limit 128)\n", True)
PANIC = "[ 1.0] Kernel panic - not syncing: Attempted to kill init!\n"
SLEEPING = "[ 1.0] BUG: sleeping function called from invalid context at mm/vmalloc.c:1\n"
OOPS = "[ 1.0] Unable to handle kernel paging request at virtual address 8\n"


def judge(frames, console="", ending=Ending.POWERED_OFF, loads=1):
    return judge_guest(frames, console, ending, loads, 12.0)


def test_a_whole_report_passes():
    judgement = judge([READY, LOADED, LOG])
    assert judgement.verdict is Verdict.PASSED
    assert judgement.load_ns == (1500,)
    assert judgement.facts["vmap_nodes"] == 2
    assert judgement.facts["cpus"] == "2"


@pytest.mark.parametrize(
    ("frames", "console", "ending", "verdict", "words"),
    [
        ([], "", Ending.POWERED_OFF, Verdict.NO_BOOT, "init never reported"),
        ([], "", Ending.NO_OUTPUT, Verdict.NO_BOOT, "printed nothing"),
        ([], "", Ending.NOT_READY, Verdict.NO_BOOT, "did not reach init"),
        ([], "", Ending.RESET, Verdict.NO_BOOT, "reset itself"),
        ([], PANIC, Ending.RESET, Verdict.CRASHED, "before init: Kernel panic"),
        ([READY], PANIC, Ending.RESET, Verdict.CRASHED, "crashed: Kernel panic"),
        ([READY], PANIC, Ending.SILENT, Verdict.CRASHED, "Kernel panic"),
        ([READY], OOPS, Ending.SILENT, Verdict.CRASHED, "crashed: Unable to handle kernel"),
        ([READY, LOADED, LOG], OOPS, Ending.POWERED_OFF, Verdict.CRASHED, "crashed: Unable"),
        ([READY], SLEEPING, Ending.SILENT, Verdict.HUNG, "no output"),
        ([READY], "", Ending.RESET, Verdict.CRASHED, "without a message"),
        ([READY], "", Ending.SILENT, Verdict.HUNG, "no output"),
        ([READY], "", Ending.DEADLINE, Verdict.TIMED_OUT, "still running"),
        ([READY], "", Ending.FLOOD, Verdict.TIMED_OUT, "printed more than any log"),
        ([READY, LOG], "", Ending.POWERED_OFF, Verdict.INCOMPLETE, "0 of 1 loads"),
        ([READY, LOADED], "", Ending.POWERED_OFF, Verdict.INCOMPLETE, "log is truncated"),
        (
            [READY, LOADED, Frame("log", "cut", False)],
            "",
            Ending.POWERED_OFF,
            Verdict.INCOMPLETE,
            "log is truncated",
        ),
        (
            [READY, Frame("load", f"errno={errno.ENOENT} elapsed_ns=1", True), LOG],
            "",
            Ending.POWERED_OFF,
            Verdict.MODULE_MISSING,
            "ENOENT",
        ),
        (
            [READY, Frame("load", "garbage", True), LOG],
            "",
            Ending.POWERED_OFF,
            Verdict.MODULE_MISSING,
            "load 1",
        ),
    ],
)
def test_every_failure_has_its_own_verdict(frames, console, ending, verdict, words):
    judgement = judge(frames, console, ending)
    assert judgement.verdict is verdict
    assert words in judgement.reason
    assert judgement.reached_init == (READY in frames)


def test_a_splat_after_the_log_was_collected_is_in_the_log():
    judgement = judge([READY, LOADED, LOG], console=LOG.content + SLEEPING)
    assert judgement.verdict is Verdict.PASSED  # until the log is read
    assert judgement.kernel_log.count("vmap nodes") == 1
    assert judgement.kernel_log.endswith(f"later, on the console\n{SLEEPING}")


def moment(name):
    return Frame("moment", name, True)


def test_memory_is_kept_by_moment():
    before = Frame("/proc/meminfo", "PageTables: 10 kB\n", True)
    after = Frame("/proc/meminfo", "PageTables: 99 kB\n", True)
    lazy = Frame("lazy", "areas=2 kib=40", True)
    buddy = Frame("/proc/buddyinfo", "Node 0, zone   Normal   3   1\n", True)
    frames = [READY, moment("before"), before, buddy, LOADED, moment("after"), after, lazy, LOG]
    assert judge(frames).facts["memory"] == [
        {"moment": "before", "meminfo_kib": {"PageTables": 10}, "free_blocks": [3, 1]},
        {"moment": "after", "meminfo_kib": {"PageTables": 99, "LazilyFreed": 40}},
    ]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (Frame("/proc/buddyinfo", "Node 0, zone Normal x\n", True), "unknown format"),
        (Frame("/proc/buddyinfo", "Node 0, zone   Normal   3", False), "is truncated"),
        (Frame("/proc/vmstat", "compact_stall 1e5\n", True), "unknown format"),
    ],
)
def test_memory_that_is_not_understood_is_left_out_and_said(frame, words):
    facts = judge([READY, moment("before"), frame, LOADED, LOG]).facts
    assert facts["memory"] == [{"moment": "before"}]
    assert len(facts["errors"]) == 1
    assert words in facts["errors"][0]


def test_memory_without_a_moment_is_no_reading():
    stray = Frame("/proc/meminfo", "PageTables: 10 kB\n", True)
    named = moment("<script>")
    assert judge([READY, stray, named, stray, LOADED, LOG]).facts["memory"] == []


@pytest.mark.parametrize(
    ("said", "levels"),
    [
        ("machine=x86_64 page_size=4096 user_bits=47", "4"),
        ("machine=x86_64 page_size=4096 user_bits=56", "5"),
        ("machine=aarch64 page_size=4096 user_bits=48", "4"),
        ("machine=aarch64 page_size=65536 user_bits=48", "3"),
        ("machine=aarch64 page_size=65536 user_bits=52", "3"),
        ("machine=aarch64 page_size=4096 user_bits=52", "5"),
    ],
)
def test_page_tables_of_another_depth_are_another_machine(said, levels):
    ready = Frame("ready", f"release=7.3 {said}", True)
    assert judge([ready, LOADED, LOG]).facts["conditions"] == {"paging_levels": levels}
    assert "conditions" not in judge([READY, LOADED, LOG]).facts


@pytest.mark.parametrize(
    ("notes", "build_id"),
    [
        ("040000000200000003000000474e5500abcd0000", {"build_id": "abcd"}),
        ("00", {"build_id": ""}),
        ("0", {}),
        ("zz", {}),
    ],
)
def test_a_guest_says_which_build_it_runs(notes, build_id):
    facts = judge([READY, Frame("notes", notes, True), LOADED, LOG]).facts
    assert {name: facts[name] for name in ("build_id",) if name in facts} == build_id


@pytest.mark.parametrize("number", ["--5", "²", "1" + "0" * 30, "9" * 5000, "-1", ""])
def test_no_number_of_a_guest_is_larger_than_a_store_keeps(number):
    ready = Frame("ready", f"release=7.3 cpus=2 meminfo_kib=x files={number}", True)
    memory = Frame("/proc/meminfo", f"MemTotal: {number} kB\n", True)
    load = Frame("load", f"errno={number} elapsed_ns={number}", True)
    lazy = Frame("lazy", f"kib={number}", True)
    judged = judge([ready, moment("before"), memory, lazy, load, LOG])
    assert judged.load_ns == (-1,)
    assert judged.facts["memory"] == [{"moment": "before", "meminfo_kib": {"LazilyFreed": 0}}]
    assert judged.verdict.bad
