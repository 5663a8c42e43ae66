"""What differs between kernels, from their extra boots."""

import pandas as pd
import pytest

from harness.report.explanation import (
    explanation_document,
    function_rows,
    lock_rows,
    probe_costs,
)
from harness.targets.explanation import BootAccount, FunctionTime, LockUse

BOOTS = pd.DataFrame(
    [
        ("a", "w", 4, 4, "passed", 100),
        ("a", "w", 4, 4, "passed", 110),
        ("a", "w", 4, 4, "passed", 150),
        ("a", "w", 4, 2, "passed", 1),
        ("a", "w", 4, 4, "noisy", 1),
        ("never-passed", "w", 4, 4, "crashed", 100),
    ],
    columns=["kernel", "workload", "cpus", "nr_threads", "verdict", "load_ns"],
)


def lock(name, caller, wait, hold):
    times = {"wait_ns": wait, "longest_wait_ns": wait, "hold_ns": hold, "longest_hold_ns": hold}
    return LockUse(lock=name, caller=caller, taken=10, timed=10, **times)


def account(functions, locks=()):
    return BootAccount(
        clock="virtual time",
        spin_ns=0,
        locks=tuple(locks),
        functions=tuple(FunctionTime(function=n, cpu_ns=ns) for n, ns in functions.items()),
    )


A = account({"vfree": 10_000, "vmap": 3_000}, [lock("l", "vfree", 50, 50), lock("m", "vmap", 9, 9)])
B = account({"vfree": 11_000, "added": 2_000, "rare": 1}, [lock("l", "vfree", 60, 900)])


def test_what_changed_most_is_first_and_what_is_new_is_named():
    rows = function_rows({"a": A, "b": B})
    assert [(row.function, row.change) for row in rows] == [
        *[("vmap", -3_000), ("added", 2_000), ("vfree", 1_000)],
    ]
    assert [row.function for row in rows if row.new] == ["added"]


def test_the_lock_that_is_held_longer_is_first_with_its_caller():
    first, second = lock_rows({"a": A, "b": B})
    assert (first.lock, first.caller, first.change) == ("l", "vfree", 860)
    assert (second.lock, list(second.uses), second.change) == ("m", ["a"], -18)


def test_one_kernel_alone_is_sorted_by_its_time():
    assert [row.function for row in function_rows({"a": A})] == ["vfree", "vmap"]


def test_without_an_extra_boot_the_results_say_nothing():
    assert explanation_document({}, BOOTS) is None
    assert explanation_document({"a": A, "b": B}, BOOTS)["units"]["wait_ns"] == "ns"


def test_the_cost_is_against_the_samples_of_the_same_condition_that_passed():
    told = {"workload": "w", "cpus": 4, "nr_threads": 4, "load_ns": 121}
    found = {name: A.model_copy(update=told) for name in ("a", "never-passed")}
    assert probe_costs(found, BOOTS) == {"a": pytest.approx(1.1)}
    assert probe_costs({"a": A}, BOOTS) == {}  # a boot of an earlier version tells no time
