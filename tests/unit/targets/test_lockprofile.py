"""The lock profile finds the functions to watch."""

from harness.targets.lockprofile import lock_functions


def test_the_functions_that_take_spin_locks():
    text = (
        "ffffffff8138aa60 T _raw_spin_lock\n"
        "ffffffff8138aa80 T _raw_spin_lock_bh\n"
        "ffffffff8138a930 T _raw_spin_trylock\n"
        "ffffffff8138a940 T _raw_spin_unlock\n"
        "ffffffff8138a950 T _raw_read_lock\n"
    )
    assert lock_functions(text) == ["ffffffff8138aa60", "ffffffff8138aa80", "ffffffff8138a930"]
