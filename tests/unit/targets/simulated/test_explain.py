"""Lock waits and CPU time of a boot, from what the plugin leaves in its folder."""

import pytest

from harness.targets.explanation import read_explanation, write_explanation
from harness.targets.simulated.explain import (
    explain_boot,
    lock_functions,
    parse_locks,
    parse_stacks,
    unwind,
)
from harness.targets.simulated.machine import load_machine
from harness.targets.symbols import Variables, parse_system_map

SYSTEM_MAP = """\
ffffffff81000000 T _text
ffffffff81001000 t alloc_vmap_area
ffffffff81002000 T _raw_spin_lock
ffffffff81002100 T _raw_spin_lock_irqsave
ffffffff81002200 T _raw_spin_trylock
ffffffff81003000 T queued_spin_lock_slowpath
ffffffff81004000 T _etext
ffffffff82000000 D _sdata
ffffffff82000100 d free_vmap_area_lock
ffffffff82000200 B vmap_nodes
ffffffff82001000 B _end
"""
SYMBOLS, VARIABLES = parse_system_map(SYSTEM_MAP), Variables(SYSTEM_MAP)
HEAP = 0xFFFF888003C0FF40


@pytest.fixture
def system_map(tmp_path):
    file = tmp_path / "System.map"
    file.write_text(SYSTEM_MAP)
    return file


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF82000100, "free_vmap_area_lock"),
        (0xFFFFFFFF82000240, "vmap_nodes+0x40"),
        (0xFFFFFFFF82001000, "allocated"),
        (HEAP, "allocated"),
        (0, "allocated"),
    ],
)
def test_locks_are_called_by_their_variable(address, name):
    assert VARIABLES.name_of(address) == name


def test_only_functions_that_end_with_the_lock_are_followed(system_map):
    assert lock_functions(system_map) == [0xFFFFFFFF81002000, 0xFFFFFFFF81002100]


def test_locks_of_one_name_are_added_up_by_caller():
    rows = [
        f"{HEAP:x} ffffffff81001020 10 9 1000 4000 500 900",
        f"{HEAP + 64:x} ffffffff81001080 5 5 200 100 150 30",
        "ffffffff82000100 ffffffff81001100 1 1 7 8 7 8",
        "ffffffff82000100 ffffffffa0000010 1 1 1 1 1 1",
    ]
    found = {
        (use.lock, use.caller): use for use in parse_locks("\n".join(rows), SYMBOLS, VARIABLES)
    }
    both = found["allocated", "alloc_vmap_area"]
    assert (both.taken, both.timed, both.wait_ns, both.hold_ns) == (15, 14, 1200, 4100)
    assert (both.longest_wait_ns, both.longest_hold_ns) == (500, 900)
    assert set(found) == {
        ("allocated", "alloc_vmap_area"),
        ("free_vmap_area_lock", "alloc_vmap_area"),
        ("free_vmap_area_lock", "[module]"),
    }


def test_ticks_become_time_and_the_slow_path_stands_apart(system_map, tmp_path):
    machine = load_machine("uniform")  # 1 GHz: 1024 ticks are 1 ns
    (tmp_path / "profile-1.txt").write_text(
        "ffffffff81001010 0 0 0 20480\nffffffff81003010 0 0 0 10240\n"
    )
    assert explain_boot(tmp_path, 1, system_map, machine) is None  # it never ended
    (tmp_path / "locks-1.txt").write_text("")
    (tmp_path / "stacks-1.txt").write_text("ffffffff81001010 2048\n")
    found = explain_boot(tmp_path, 1, system_map, machine)
    assert found is not None
    assert [(row.function, row.cpu_ns) for row in found.functions] == [("alloc_vmap_area", 20)]
    assert (found.spin_ns, found.locks) == (10, ())
    assert [(row.functions, row.cpu_ns) for row in found.stacks] == [(("alloc_vmap_area",), 2)]
    write_explanation(tmp_path / "kept.json", found)
    assert read_explanation(tmp_path / "kept.json") == found


MODULE_CALL, INNER = 0xFFFFFFFFA0000010, 0xFFFFFFFF81001020
LOCK, ALLOC, TRY = 0xFFFFFFFF81002000, 0xFFFFFFFF81001000, 0xFFFFFFFF81002200


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], ("_raw_spin_lock",)),
        ([(INNER, LOCK)], ("alloc_vmap_area", "_raw_spin_lock")),
        # A call that is long over went to another function.
        (
            [(INNER, TRY), (INNER, LOCK), (MODULE_CALL, ALLOC)],
            ("[module]", "alloc_vmap_area", "_raw_spin_lock"),
        ),
        # alloc_vmap_area() has jumped to _raw_spin_lock(): its caller is known all the same.
        ([(MODULE_CALL, ALLOC)], ("[module]", "alloc_vmap_area", "_raw_spin_lock")),
        ([(INNER, TRY)], ("_raw_spin_lock",)),
    ],
)
def test_stacks_are_those_calls_that_led_to_one_another(calls, expected):
    assert unwind(LOCK + 4, calls, SYMBOLS) == expected


def test_the_slow_path_stands_on_the_lock_function_that_jumped_to_it():
    assert unwind(0xFFFFFFFF81003010, [(INNER, TRY), (INNER, LOCK)], SYMBOLS) == (
        *("alloc_vmap_area", "_raw_spin_lock", "queued_spin_lock_slowpath"),
    )


def test_stacks_of_one_kind_are_added_up():
    text = f"{LOCK:x} {INNER:x} {LOCK:x} 30\n{LOCK + 8:x} {INNER + 9:x} {LOCK:x} 12\n401000 7\n"
    assert parse_stacks(text, SYMBOLS) == {
        ("alloc_vmap_area", "_raw_spin_lock"): 42,
        ("[user]",): 7,
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "locks": 3}'])
def test_a_file_of_another_form_is_no_explanation(tmp_path, text):
    (tmp_path / "kept.json").write_text(text)
    assert read_explanation(tmp_path / "kept.json") is None
