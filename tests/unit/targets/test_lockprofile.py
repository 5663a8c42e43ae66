"""The lock profile's plugin compiles, and finds the functions to watch."""

from harness.targets.lockprofile import ensure_lock_plugin, lock_functions


def test_the_functions_that_take_spin_locks():
    text = (
        "ffffffff8138aa60 T _raw_spin_lock\n"
        "ffffffff8138aa80 T _raw_spin_lock_bh\n"
        "ffffffff8138a930 T _raw_spin_trylock\n"
        "ffffffff8138a940 T _raw_spin_unlock\n"
        "ffffffff8138a950 T _raw_read_lock\n"
    )
    assert lock_functions(text) == ["ffffffff8138aa60", "ffffffff8138aa80", "ffffffff8138a930"]


def test_the_plugin_compiles(tmp_path, runner):
    library = ensure_lock_plugin(tmp_path, runner)
    assert library.read_bytes()[:4] == b"\x7fELF"
