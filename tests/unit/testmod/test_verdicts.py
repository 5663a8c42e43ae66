from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.testmod.catalogue import CONDITIONS, Severity
from harness.testmod.verdicts import scan_console, verdict_of
from harness.verdict import Verdict

LOGS = Path(__file__).parent / "logs"


class Sample(NamedTuple):
    """A line of samples.tsv; `source` is where it was seen."""

    name: str
    source: str
    line: str


def rows_of(file_name):
    lines = (Path(__file__).parent / file_name).read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


SAMPLES = [Sample(*columns) for columns in rows_of("samples.tsv")]
ROWS = {row.name: row for row in CONDITIONS}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_line_that_a_kernel_printed_is_found_under_its_row_s_name(sample):
    for prefix in ["", "[    1.234567] ", "<4>[   12.5][  T49] ", "4,1,2,-;"]:
        given = ROWS[sample.name].given
        findings = scan_console(f"{prefix}hello\n{prefix}{sample.line}\n{prefix}bye\n{given}\n")
        assert [(found.name, found.severity, found.line) for found in findings] == [
            (sample.name, ROWS[sample.name].severity, 2)
        ]
        assert findings[0].excerpt == prefix + sample.line


def test_every_row_has_a_line_that_a_kernel_printed():
    assert {sample.name for sample in SAMPLES} == set(ROWS)


def test_names_are_unique_and_the_catalogue_is_wide():
    assert len(ROWS) == len(CONDITIONS)
    assert sum(row.severity is not Severity.NOTE for row in CONDITIONS) > 101


@pytest.mark.parametrize(("source", "line"), rows_of("noise.tsv"))
def test_harmless_lines_that_kernels_printed_are_no_finding(source, line):
    assert scan_console(f"{line}\n") == (), source


@pytest.mark.parametrize(
    "line",
    [
        "DEBUG: nothing to see",
        "SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs=4, Nodes=1",
        'PCI: Using host bridge windows from ACPI; if necessary, use "pci=nocrs" and report a bug',
        "rcu: Hierarchical RCU implementation.",
        "rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.",
        "rcu_tasks: Adjusting callbacks for 4 cpus",
        "clocksource: Switched to clocksource tsc",
        "clocksource: tsc: mask: 0xffffffffffffffff max_cycles: 0x256bf2ae2b5",
        "tsc: Refined TSC clocksource calibration: 2596.128 MHz",
        "tsc: Marking TSC unstable due to boot parameter",  # the simulated machine asks for it
        "CPU: 1 UID: 0 PID: 49 Comm: vmalloc_test/0 Not tainted 6.12.117 #1",
        "CPU0: Thermal monitoring enabled (TM1)",
        "mce: CPU supports 10 MCE banks",
        "MCE: In-kernel MCE decoding enabled.",
        "EDAC MC: Ver: 3.0.0",
        "HugeTLB: registered 2.00 MiB page size, pre-allocated 0 pages",
        "Spectre V2 : Mitigation: Retpolines",
        "kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)",
        "kfence: initialized - using 2097152 bytes for 255 objects at 0x(____ptrval____)",
        "kasan: KernelAddressSanitizer initialized (generic)",
        "Freeing unused kernel image (initmem) memory: 1024K",
        "ODEBUG: selftest passed",
        "Running RCU self tests",
        "Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar",
        "... MAX_LOCKDEP_SUBCLASSES:  8",
        "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
        "softlockup_panic=0 hung_task_panic=0",
        "Command line: panic=-1 oops=panic softlockup_panic=1 log_buf_len=16M",
        "refcount_t tests: 12 passed",
        "systemd[1]: Started Out of memory killer daemon.",
        "irq 9: registered handler",
        "Summary: kvfree_rcu_1_arg_vmalloc_test passed: 1 failed: 0 repeat: 1 loops: 2 avg: 3 usec",
        "x86/fpu: x87 FPU will use FXSAVE",
        "Internal error: not really",
        "initcall vmalloc_test_init+0x0/0x10 [test_vmalloc] returned -11 after 10 usecs",
        "page:ffffea0000000000 refcount:1 mapcount:0",
        "task:kworker/0:1     state:D stack:0     pid:12    tgid:12    ppid:2      flags:0x4000",
        "traps: a.out[12] general protection fault ip:401136 sp:7ffd error:0 in a.out",
        "random: crng init done",
        "badblocks: bad device",
        "BUG report: see https://bugzilla.kernel.org",
        "Oops: no",
        "INFO: task list empty",
    ],
)
def test_ordinary_lines_are_no_finding(line):
    assert scan_console(f"[    1.234567] {line}\n") == ()


REFCOUNT = """\
[    5.0] ------------[ cut here ]------------
[    5.0] refcount_t: underflow; use-after-free.
[    5.0] WARNING: CPU: 0 PID: 51 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
[    5.0] Modules linked in: test_vmalloc(+)
[    5.0] Call Trace:
[    5.0]  <TASK>
[    5.0]  vfree+0x12/0x34
[    5.0]  </TASK>
[    5.0] ---[ end trace 0000000000000000 ]---
"""
FAULT = """\
[    6.0] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    6.0] #PF: supervisor read access in kernel mode
[    6.0] Oops: 0000 [#1] PREEMPT SMP NOPTI
[    6.0] RIP: 0010:vfree+0x12/0x34
[    6.0] ---[ end trace 0000000000000000 ]---
"""


def test_a_report_is_one_finding_with_its_own_name_and_its_whole_text():
    findings = scan_console(f"[    4.9] before\n{REFCOUNT}[    5.1] after\n")
    assert [(found.name, found.line) for found in findings] == [("refcount: use after free", 2)]
    assert findings[0].excerpt == REFCOUNT.rstrip("\n")
    assert verdict_of(findings) is Verdict.SPLAT


def test_two_reports_in_a_row_are_two_findings_and_the_worse_decides():
    findings = scan_console(REFCOUNT + FAULT)
    assert [found.name for found in findings] == [
        "refcount: use after free",
        "NULL pointer dereference",
    ]
    assert verdict_of(findings) is Verdict.CRASHED


def test_a_crash_inside_a_splat_is_seen():
    text = "list_del corruption, f->next is NULL\nkernel BUG at lib/list_debug.c:52!\n"
    text += " list_del+0x1/0x2\n"
    assert verdict_of(scan_console(text)) is Verdict.CRASHED


def test_notes_alone_are_no_verdict_against_a_boot():
    findings = scan_console("test_vmalloc: loading out-of-tree module taints kernel.\n")
    assert [found.severity for found in findings] == [Severity.NOTE]
    assert verdict_of(findings) is Verdict.PASSED
    assert verdict_of(()) is Verdict.PASSED


def test_what_the_module_provokes_on_purpose_is_a_note_and_the_same_elsewhere_a_splat():
    text = """\
vmalloc_test/0: vmalloc error: size 4096, vm_struct allocation failed, mode:0xdc0(GFP_KERNEL)
Call Trace:
 warn_alloc+0x12b/0x1a0
 align_shift_alloc_test+0x30/0x60 [test_vmalloc]
"""
    assert verdict_of(scan_console(text)) is Verdict.PASSED
    assert verdict_of(scan_console(text.replace("align_shift", "fix_align"))) is Verdict.SPLAT


def test_a_note_inside_a_report_without_a_heading_takes_no_splat_away():
    heading = "[    5.0] refcount_t: underflow; use-after-free.\n"
    warning = "[    5.0] WARNING: CPU: 0 PID: 51 at lib/refcount.c:28 refcount_warn_saturate"
    assert heading in REFCOUNT
    text = REFCOUNT.replace(heading, "").replace(f"{warning}+0xba/0x110\n", "")
    text = text.replace("Call Trace:", "module verification failed: taints kernel\n Call Trace:")
    findings = scan_console(text)
    assert [(found.name, found.severity) for found in findings] == [("cut here", Severity.SPLAT)]


def test_colour_does_not_hide_a_finding():
    text = "\x1b[32m[    1.2] \x1b[0m\x1b[33mBUG: \x1b[0m\x1b[31msoft lockup - CPU#3 stuck\x1b[0m\n"
    assert [found.name for found in scan_console(text)] == ["soft lockup"]


def test_a_real_boot_with_all_cases_has_notes_only():
    text = (LOGS / "6.12-four-workers-then-two.log").read_text()
    assert verdict_of(scan_console(text)) is Verdict.PASSED


def test_a_real_panic_is_a_crash_with_its_stack():
    findings = scan_console((LOGS / "6.12-sysrq-panic.log").read_text())
    assert [found.name for found in findings] == ["panic: by hand"]
    assert "sysrq_handle_crash+0x14/0x20" in findings[0].excerpt


@given(
    st.text(max_size=40), st.lists(st.sampled_from([sample.line for sample in SAMPLES]), max_size=9)
)
def test_no_text_makes_it_raise(noise, samples):
    findings = scan_console("\n".join([noise, *samples, noise]))
    assert all(found.line >= 1 and found.excerpt for found in findings)


@given(st.text(alphabet="BUG: WARNI[]-\n+0x/1", max_size=300))
def test_no_text_near_the_patterns_makes_it_raise(text):
    scan_console(text)


@pytest.mark.parametrize(
    "text",
    [
        "BUG: " * 40_000,
        "BUG: x\n" * 30_000,
        "rcu " * 50_000,
        "WARNING: " + "a-safe -> " * 20_000,
        "-safe" * 40_000,
        "+0x1/0x" * 30_000,
        "Oops: " + "a " * 1_00_000,
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.timeout(20)
def test_hostile_logs_of_some_hundred_kilobytes_end(text):
    assert len(scan_console(text)) <= 1000


def test_the_first_of_a_condition_are_kept_and_the_others_counted():
    text = "page dumped because: unmovable page\n" * 1_000 + "Kernel panic - not syncing: x\n"
    findings = scan_console(text)
    assert [found.severity for found in findings] == [Severity.NOTE] * 20 + [Severity.CRASH]
    assert [found.more for found in findings[-2:]] == [980, 0]
    assert findings[-1].line == 1_001


EXCUSED = """\
vmalloc_test/0: vmalloc error: size 4096, vm_struct allocation failed, mode:0xdc0(GFP_KERNEL)
Call Trace:
 align_shift_alloc_test+0x30/0x60 [test_vmalloc]
"""


def test_a_splat_behind_more_excused_reports_than_are_kept_is_found():
    text = EXCUSED * 30 + EXCUSED.replace("align_shift", "fix_size")
    assert verdict_of(scan_console(text)) is Verdict.SPLAT


def test_a_note_inside_an_excused_report_does_not_end_it():
    text = EXCUSED.replace("Call Trace", "** 1 printk messages dropped **\nCall Trace")
    assert verdict_of(scan_console(text)) is Verdict.PASSED


@pytest.mark.parametrize(
    "line",
    [
        "Nov 23 03:00:09 lab1 qemu-system-x86[2044]: BUG: soft lockup - CPU#0 stuck",
        "Nov 23 03:00:09 lab1 qemu[2044]: [    1.234567] Kernel panic - not syncing: a guest's",
        "<14>[   12.0] a program: Kernel panic - not syncing: written to /dev/kmsg",
        "30,339,102440639,-;systemd[1]: BUG: soft lockup",
        "user  :notice: [  117.311739] BUG: soft lockup",
        "<30>1 2025-01-01T00:00:01Z lab1 qemu 12 - - BUG: soft lockup",
    ],
)
def test_what_another_than_the_kernel_says_is_no_finding(line):
    assert scan_console(f"[    0.0] Linux version 6.12\n{line}\n") == ()


@pytest.mark.parametrize(
    "prefix",
    [
        "2025-01-01T00:00:02 ",
        "2025-01-01T00:00:02.1234567Z ",
        "2025-01-01T00:00:02+01:00 ",
        "<4>1 2025-01-01T00:00:01Z lab1 kernel - - - ",
        "[12:34:56] ",
    ],
)
def test_a_kernel_that_stamps_nothing_is_heard_behind_the_dates_of_others(prefix):
    (found,) = scan_console(f"{prefix}Linux version 6.12\n{prefix}BUG: soft lockup - CPU#0\n")
    assert found.name == "soft lockup"
    assert scan_console(f"{prefix}page 2 BUG: soft lockup - CPU#0\n") == ()


def test_a_kernel_s_line_behind_a_prompt_is_found():
    for prompt in ("login: ", "2025-01-01T00:00:01 root@board:~# "):
        text = f"2025-01-01T00:00:00 [    0.000000] Linux version 6.12\n{prompt}"
        text += "[   12.345678] BUG: soft lockup - CPU#0 stuck for 22s!\n"
        assert verdict_of(scan_console(text)) is Verdict.SPLAT


def test_where_ci_dates_the_kernels_lines_what_it_says_itself_is_no_finding():
    said = "2025-01-01T00:00:02 BUG: soft lockup - what this job looks for\n"
    said += "2025-01-01T00:00:03 case: Kernel panic - not syncing: what it looks for\n"
    kernel = "2025-01-01T00:00:00 [    0.000000] Linux version 6.12\n"
    assert scan_console(kernel + said) == ()


def test_a_self_test_that_quotes_what_it_provokes_says_nothing_of_the_kernel():
    quoted = ["------------[ cut here ]------------", "WARNING: <<all>>"]
    quoted += ["refcount_t: underflow; use-after-free.", "---[ end trace <<int>> ]---"]
    lines = [f"### dt-test ### EXPECT{mark} : {line}" for line in quoted for mark in (" \\", " /")]
    lines += [f"[    1.5] ### dt-test ### EXPECT_NOT \\ : {line}" for line in quoted]
    assert scan_console("\n".join(lines)) == ()


def test_the_end_of_a_report_longer_than_an_excerpt_is_no_report_of_its_own():
    modules = "".join(f"[    5.0]  module_{n} module_of_many_characters_{n}\n" for n in range(400))
    long = REFCOUNT.replace("[    5.0] Modules linked in: test_vmalloc(+)\n", modules)
    assert [f.name for f in scan_console(long + long)] == ["refcount: use after free"] * 2
    # without a report before it, it is what is left of one
    lost = "[    9.0] ---[ end trace 0000000000000000 ]---\n"
    assert [f.name for f in scan_console(REFCOUNT + lost)][1:] == ["end of a trace"]


def test_a_line_that_a_mail_indents_is_the_kernels():
    line = "UBSAN: signed-integer-overflow in ./arch/arm64/include/asm/atomic_lse.h:204:1"
    assert [f.name for f in scan_console(f"> {' ' * 20}{line}\n")] == ["UBSAN: overflow"]


def test_a_log_of_nothing_but_reports_is_read_to_a_limit_and_says_so():
    *_, last = scan_console("BUG: x\n" * 30, most=25)
    assert (last.name, last.severity) == ("rest not read", Severity.SPLAT)
    assert last.excerpt == "the rest of the log was not read: it has more than 25 reports"
    assert "rest not read" not in {item.name for item in scan_console("BUG: x\n" * 25, most=25)}
