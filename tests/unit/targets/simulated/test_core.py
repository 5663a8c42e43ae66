import os

from harness.targets.simulated.core import one_core


def test_simulations_side_by_side_have_different_cores(tmp_path):
    cores = os.sched_getaffinity(0)
    with one_core(tmp_path) as first:
        assert first in cores
        with one_core(tmp_path) as second:
            assert second in cores
            assert second != first or len(cores) == 1


def test_a_core_is_given_back_and_shared_where_none_is_left(tmp_path):
    taken = [one_core(tmp_path) for _ in os.sched_getaffinity(0)]
    cores = [core.__enter__() for core in taken]
    assert set(cores) == os.sched_getaffinity(0)
    with one_core(tmp_path) as shared:
        assert shared in cores
    taken[0].__exit__(None, None, None)
    with one_core(tmp_path) as again:
        assert again == cores[0]
    for core in taken[1:]:
        core.__exit__(None, None, None)
