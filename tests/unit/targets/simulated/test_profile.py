from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.targets.simulated.profile import (
    lock_waits,
    parse_counts,
    parse_table,
    parse_windows,
    profile_of_boot,
    shares,
)
from harness.targets.symbols import parse_system_map

SYSTEM_MAP = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81001000 t alloc_vmap_area
ffffffff81002000 T _raw_spin_lock
ffffffff81003000 T queued_spin_lock_slowpath
ffffffff81004000 T _etext
ffffffff82000000 D jiffies
"""
SYMBOLS = parse_system_map(SYSTEM_MAP)
SLOW, LOCK, ALLOC = 0xFFFFFFFF81003010, 0xFFFFFFFF81002008, 0xFFFFFFFF81001FFF


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF81001000, "alloc_vmap_area"),
        (ALLOC, "alloc_vmap_area"),
        (SLOW, "queued_spin_lock_slowpath"),
        (0xFFFFFFFFA0000123, "[module]"),
        (0x401000, "[user]"),
    ],
)
def test_addresses_have_names(address, name):
    assert SYMBOLS.name_of(address) == name


@pytest.mark.parametrize(
    ("place", "address"),
    [("_raw_spin_lock", 0xFFFFFFFF81002000), ("alloc_vmap_area+0x1c5", 0xFFFFFFFF810011C5)],
)
def test_places_have_addresses(place, address):
    assert SYMBOLS.address_of(place) == address


def test_a_place_that_the_kernel_does_not_have_is_named():
    with pytest.raises(InputError, match="node_alloc"):
        SYMBOLS.address_of("node_alloc+0x10")


def test_windows_keep_their_own_samples_and_running_counts():
    text = (
        f"window 2000000 10 3\ns {SLOW:x} 0 0 0 900\nw {SLOW:x} {LOCK:x} {ALLOC:x} 0 300\n"
        f"window 4000000 25 3\ns {ALLOC:x} 0 0 0 100\n"
    )
    first, second = parse_windows(text)
    assert (first.until_ns, first.executed) == (2_000_000, (10, 3))
    assert (first.samples, first.waits) == ((((SLOW,), 900),), (((SLOW, LOCK, ALLOC), 300),))
    assert (second.until_ns, second.executed, second.waits) == (4_000_000, (25, 3), ())
    assert second.samples == (((ALLOC,), 100),)


def test_a_run_without_windows_has_none():
    assert parse_windows("") == []


def test_shares_add_up():
    table = parse_table(f"{SLOW:x} 0 0 0 900\n{ALLOC:x} 0 0 0 100\n")
    assert shares(table, SYMBOLS) == {"queued_spin_lock_slowpath": 0.9, "alloc_vmap_area": 0.1}


def test_a_wait_belongs_to_whoever_wanted_the_lock():
    waits = parse_table(f"{SLOW:x} {LOCK:x} {ALLOC:x} 0 300\n{SLOW:x} {LOCK:x} 0 0 100\n")
    assert lock_waits(waits, SYMBOLS, 1000) == {"alloc_vmap_area": 0.3, "?": 0.1}


def test_nothing_sampled_is_no_division_by_zero():
    assert shares([], SYMBOLS) == {}
    assert lock_waits([], SYMBOLS, 0) == {}


def write_boot(folder: Path):
    for part in (0, 1):
        (folder / f"profile-{part}.txt").write_text(f"{SLOW:x} 0 0 0 3\n{ALLOC:x} 0 0 0 1\n")
        (folder / f"waits-{part}.txt").write_text(f"{SLOW:x} {LOCK:x} {ALLOC:x} 0 2\n")
    (folder / "counts.txt").write_text(
        "mark 0 virtual_ns 100 misses 5\nmark 1 virtual_ns 400 misses 25\n"
    )
    (folder / "System.map").write_text(SYSTEM_MAP)


def test_the_measured_part_of_a_boot(tmp_path):
    write_boot(tmp_path)
    profile = profile_of_boot(tmp_path, 1, tmp_path / "System.map")
    assert profile is not None
    assert profile["spin_share"] == 0.75
    assert profile["waiting_for_lock_taken_in"] == {"alloc_vmap_area": 0.5}
    assert profile["counts"] == {"virtual_ns": 300, "misses": 20}


def test_a_boot_that_never_got_there_has_no_profile(tmp_path):
    write_boot(tmp_path)
    assert profile_of_boot(tmp_path, 3, tmp_path / "System.map") is None


@given(st.lists(st.tuples(st.integers(1, 2**64 - 1), st.integers(1, 2**63))))
def test_tables_survive_writing(rows):
    text = "".join(f"{address:x} 0 0 0 {ticks}\n" for address, ticks in rows)
    assert parse_table(text) == [((address,), ticks) for address, ticks in rows]


def test_counts_are_named():
    assert parse_counts("mark 0 virtual_ns 12 host_ms 7\n") == [
        {"mark": 0, "virtual_ns": 12, "host_ms": 7}
    ]
