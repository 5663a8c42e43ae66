"""What a console says after the log was collected is judged, and nothing is counted twice."""

from hypothesis import given
from hypothesis import strategies as st

from harness.testmod.late import add_late_lines, late_lines
from harness.testmod.verdicts import scan_console

START = "[    0.000000] Linux version 6.12.0 (a@b)\n"
SPLAT = "[    2.000000] BUG: sleeping function called from invalid context at mm/vmalloc.c:1\n"
LATER = SPLAT.replace("2.0", "3.0").replace("c:1", "c:9")
END = "[    4.000000] reboot: Power down\n"
LOG = "<5>" + START + "<6>[    1.000000] Run /init as init process\n<3>" + SPLAT
CONSOLE = START + SPLAT  # of a console that shows no informational lines


def test_only_what_the_log_has_not_is_late():
    assert late_lines(LOG, CONSOLE) == ""
    assert late_lines(LOG, CONSOLE + LATER + END) == (LATER + END).strip()
    assert late_lines(LOG, (CONSOLE + LATER).replace("\n", "\r\n")) == LATER.strip()


def test_a_splat_counts_once_wherever_it_stands():
    whole = add_late_lines(LOG, CONSOLE + LATER)
    assert [found.excerpt[-3:] for found in scan_console(whole)] == ["c:1", "c:9"]
    assert add_late_lines(whole, CONSOLE + LATER, "serial console") == whole
    assert add_late_lines(LOG, CONSOLE) == LOG


def test_a_quiet_console_is_all_late():
    assert late_lines(LOG, LATER) == LATER.strip()


def test_another_kernel_is_not_blamed_on_this_one():
    before = "[99999.000000] BUG: scheduling while atomic: a/1/0x2\n"
    after = START.replace("6.12.0", "6.1.0") + "[    0.500000] kernel BUG at mm/slub.c:1!\n"
    assert late_lines(LOG, before + CONSOLE + LATER + after) == LATER.strip()
    assert late_lines(LOG, before + after) == ""  # a console of another clock, or another machine


lines = st.lists(st.sampled_from([START, SPLAT, LATER, END, "\n", "x\n", " Call Trace:\n"]))


@given(lines, lines)
def test_nothing_that_the_log_has_is_late(log, console):
    log, console = "".join(log), "".join(console)
    late = late_lines(log, console)
    assert late in console
    stamped = {line for line in log.splitlines() if line.startswith("[")}
    assert not stamped & set(late.splitlines())
