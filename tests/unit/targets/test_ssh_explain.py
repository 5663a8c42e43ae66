"""What perf printed on a host becomes an account; what it never prints does no harm."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.targets.ssh.explain import account_of, folded_stacks
from harness.targets.ssh.helper import SAMPLES_PER_S

# Of perf 6.1 on Linux 6.18, two CPUs: `cat` of /proc/vmallocinfo and /proc/slabinfo.
DATA = Path(__file__).parents[2] / "data/perf"
REAL = (DATA / "report.txt").read_text()
# The same perf, run by the helper while it loaded test_vmalloc in a guest with Linux 6.12.
MODULE = (DATA / "module.txt").read_text()
MADE_UP = """\
            12        0:swapper
12 secondary_startup_64;do_idle;intel_idle
             9      812:vmalloc_test/0
3 ret_from_fork_asm;kthread;0xffffffffc04011f2;__vmalloc_node_range_noprof;alloc_vmap_area
4 ret_from_fork_asm;kthread;ffffffffc04011f2;vfree;_raw_spin_lock;native_queued_spin_lock_slowpath
2 [unknown];vfree
"""
SYSTEM_MAP = """\
ffffffff82000000 D _sdata
ffffffff82000100 d free_vmap_area_lock
ffffffff82001000 B _end
"""
WAITS = """\
{ lock: ffffffff82000100, common_stacktrace:
         _raw_spin_lock+0x2c/0x30
         alloc_vmap_area+0x29/0x900
} hitcount:          4  ns:      90000
"""


def test_every_sample_that_perf_printed_is_counted():
    samples = [int(line.split(" ")[0]) for line in REAL.splitlines() if line[0] != " "]
    assert REAL.splitlines()[0].split() == ["1", "0:swapper"]
    stacks = folded_stacks(REAL)
    assert stacks.total() == sum(samples) - 1
    assert any(names[-2:] == ("seq_printf", "vsnprintf") for names in stacks)
    assert all(name not in ("[unknown]", "[module]") for names in stacks for name in names)


def test_the_module_that_perf_cannot_name_is_named():
    stacks = folded_stacks(MODULE)
    assert stacks["ret_from_fork_asm", "ret_from_fork", "kthread", "[module]", "[module]", "vfree"]
    assert any(names[4:6] == ("[module]", "vmalloc_noprof") for names in stacks)
    assert not any(name.startswith("0x") for names in stacks for name in names)
    assert "default_idle" not in {name for names in stacks for name in names}


def test_an_account_has_the_slow_path_apart_and_nothing_of_the_idle_task():
    found = account_of(MADE_UP, WAITS, SYSTEM_MAP)
    samples = {row.function: row.cpu_ns * SAMPLES_PER_S / 1e9 for row in found.functions}
    assert samples == pytest.approx({"alloc_vmap_area": 3, "vfree": 2})
    assert found.spin_share == pytest.approx(4 / 9)
    assert found.stacks[0].functions[2:] == (
        *("[module]", "__vmalloc_node_range_noprof", "alloc_vmap_area"),
    )
    assert found.stacks[2].functions == ("[unknown]", "vfree")
    (use,) = found.locks
    assert (use.lock, use.caller, use.wait_ns) == ("free_vmap_area_lock", "alloc_vmap_area", 90000)


def test_without_samples_or_traced_locks():
    assert account_of("", WAITS, SYSTEM_MAP) is None
    assert account_of(MADE_UP.partition("\n             9")[0], WAITS, SYSTEM_MAP) is None
    assert account_of(MADE_UP, "", SYSTEM_MAP).locks == ()


@given(st.lists(st.sampled_from([*MADE_UP.splitlines(), *WAITS.splitlines(), ";", "1 ;;", ""])))
def test_lines_in_any_order_never_raise(lines):
    account_of("\n".join(lines), "\n".join(lines), SYSTEM_MAP)


@pytest.mark.parametrize(
    "line",
    [
        "9" * 400 + " vfree",
        "1 " + "a" * 5000,
        "1 " + "vfree;" * 3000,
        "1 <b>vfree</b>",
        "1 \x1b[0m",
    ],
)
def test_what_no_perf_prints_is_cut_or_not_named(line):
    for names in folded_stacks(line):
        assert len(names) <= 40
        assert set(names) <= {"vfree", "[unknown]"}
    account_of(line, line, SYSTEM_MAP)
