"""Which part of a profile is which case."""

import pytest

from harness.errors import InfrastructureError
from harness.run.calibrate import CALIBRATED, profiles_of


def parts(count):
    return "".join(f"part {n} {n * 1000000} 0 0\n" for n in range(count))


def test_every_second_part_after_the_warm_up_is_a_case():
    found = dict(profiles_of(parts(2 + 2 * len(CALIBRATED)), ""))
    assert list(found) == [case.short for case in CALIBRATED]
    assert found["fix_size"].work.instructions == 3_000_000 / 20_000
    assert found["full_fit"].work.instructions == 5_000_000 / 20_000


def test_a_missing_case_gives_no_profile():
    with pytest.raises(InfrastructureError, match="5 of 6 cases"):
        list(profiles_of(parts(2 * len(CALIBRATED)), ""))
