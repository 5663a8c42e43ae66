"""Histograms that a guest's kernel kept, and the lines that ask for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.targets.histograms import lock_waits, read_histogram
from harness.targets.qemu.explain import (
    account_of,
    call_times,
    interrupted_stacks,
    timed_functions,
)
from harness.targets.symbols import Variables, parse_system_map

SYSTEM_MAP = """\
ffffffff81000000 T _text
ffffffff81001000 T __vmalloc_node_range_noprof
ffffffff81002000 T vfree
ffffffff81004000 T _etext
ffffffff82000000 D _sdata
ffffffff82000100 d free_vmap_area_lock
ffffffff82001000 B _end
"""
TICKS = """\
# event histogram
#
# trigger info: hist:keys=common_stacktrace:vals=hitcount:sort=hitcount:size=8192 [active]
#

{ common_stacktrace:
         __hrtimer_run_queues+0x16b/0x2b0
         hrtimer_interrupt+0xfb/0x240
         __sysvec_apic_timer_interrupt+0x52/0x100
         sysvec_apic_timer_interrupt+0x6c/0x90
         asm_sysvec_apic_timer_interrupt+0x1a/0x20
         alloc_vmap_area+0x21/0x900
         0xffffffffa000448b
} hitcount:          7
{ common_stacktrace:
         asm_sysvec_apic_timer_interrupt+0x1a/0x20
         queued_spin_lock_slowpath+0x6a/0x2c0
         _raw_spin_lock+0x2c/0x30
         alloc_vmap_area+0x29/0x900
} hitcount:          5
{ common_stacktrace:
         cut_off+0x1/0x2
} hitcount:          1

Totals:
    Hits: 13
    Entries: 3
    Dropped: 0
"""
WAITS = """\
{ lock: ffffffff82000100, common_stacktrace:
         trace_event_raw_event_contention_end+0x5b/0x70
         queued_spin_lock_slowpath+0x1f2/0x2c0
         _raw_spin_lock+0x2c/0x30
         alloc_vmap_area+0x29/0x900
         __get_vm_area_node+0x5b/0x140
} hitcount:          4  ns:      90000
{ lock: ffffffff82000100, common_stacktrace:
         queued_spin_lock_slowpath+0x1f2/0x2c0
         _raw_spin_lock+0x2c/0x30
         alloc_vmap_area+0x77/0x900
} hitcount:          1  ns:      10000
"""
CALLS = """\
{ ns: ~ 1000-1099 } hitcount:         98
{ ns: ~ 5000-5099 } hitcount:          1
{ ns: ~ 90000-90099 } hitcount:          1

Totals:
    Hits: 103
    Entries: 3
    Dropped: 3
"""
EVENTS = "/sys/kernel/tracing/events"
FILES = {
    f"{EVENTS}/timer/hrtimer_expire_entry/hist": TICKS,
    f"{EVENTS}/synthetic/lock_wait/hist": WAITS,
    f"{EVENTS}/synthetic/call_alloc/hist": CALLS,
}


def test_ticks_become_stacks_without_the_interrupt_itself():
    assert interrupted_stacks(read_histogram(TICKS)) == {
        ("[module]", "alloc_vmap_area"): 7,
        ("alloc_vmap_area", "_raw_spin_lock", "queued_spin_lock_slowpath"): 5,
        ("[unknown]",): 1,
    }


def test_what_traces_is_one_function_under_the_one_that_is_traced():
    text = """\
{ common_stacktrace:
         asm_sysvec_apic_timer_interrupt+0x1a/0x20
         __tracing_map_insert+0x1a/0x20
         event_hist_trigger+0x1a/0x20
         kprobe_trace_func+0x1a/0x20
         optimized_callback+0x1a/0x20
         vmalloc_noprof+0x1a/0x20
         0xffffffffa000448b
} hitcount:          3
{ common_stacktrace:
         asm_sysvec_apic_timer_interrupt+0x1a/0x20
         memcmp+0x1a/0x20
         kretprobe_rethook_handler+0x1a/0x20
} hitcount:          2
"""
    assert interrupted_stacks(read_histogram(text)) == {
        ("[module]", "vmalloc_noprof", "[tracing]"): 3,
        ("[tracing]",): 2,
    }


def test_waits_are_added_up_by_lock_and_the_function_that_waits():
    (use,) = lock_waits(read_histogram(WAITS), Variables(SYSTEM_MAP))
    assert (use.lock, use.caller) == ("free_vmap_area_lock", "alloc_vmap_area")
    assert (use.timed, use.wait_ns, use.hold_ns) == (5, 100_000, None)


def test_a_part_of_a_lock_function_is_not_its_caller():
    text = WAITS.replace("_raw_spin_lock+", "__mutex_lock.constprop.0+")
    assert {use.caller for use in lock_waits(read_histogram(text), Variables(SYSTEM_MAP))} == {
        "alloc_vmap_area"
    }


def test_percentiles_are_the_ends_of_their_buckets():
    times = call_times("alloc", CALLS)
    assert (times.p50, times.p99, times.p999, times.max) == (1099, 5099, 90099, 90099)
    assert (times.calls, times.lost) == (100, 3)
    assert call_times("alloc", "") is None


def test_an_account_has_the_slow_path_apart():
    found = account_of(FILES, SYSTEM_MAP, 4e6, "made up")
    assert {row.function: row.cpu_ns for row in found.functions} == {
        "alloc_vmap_area": 28_000_000,
        "[unknown]": 4_000_000,
    }
    assert found.spin_ns == 20_000_000
    assert [row.call for row in found.calls] == ["alloc"]
    assert account_of({}, SYSTEM_MAP, 4e6, "made up") is None


def test_only_functions_that_the_kernel_has_are_timed():
    assert timed_functions(parse_system_map(SYSTEM_MAP)) == {
        "alloc": "__vmalloc_node_range_noprof",
        "free": "vfree",
    }


@given(st.lists(st.sampled_from([*TICKS.splitlines(), *WAITS.splitlines(), *CALLS.splitlines()])))
def test_lines_in_any_order_never_raise(lines):
    text = "\n".join(lines)
    account_of(dict.fromkeys(FILES, text), SYSTEM_MAP, 4e6, "made up")


@pytest.mark.parametrize(
    "text",
    [
        "{ lock: " + "f" * 5000 + " } hitcount: 1 ns: 1",
        "{ ns: ~ 1-" + "9" * 400 + " } hitcount: 1",
        "{ ns: ~ 1-2 } hitcount: " + "9" * 400,
        "} hitcount: 1",
    ],
)
def test_what_no_kernel_prints_is_passed_over(text):
    account_of(dict.fromkeys(FILES, text), SYSTEM_MAP, 4e6, "made up")
