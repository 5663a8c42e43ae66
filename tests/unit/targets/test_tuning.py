"""Tuning as values; the helper itself is run in tests/flow and tests/e2e."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.spec.architecture import ARM64, X86_64
from harness.targets.ssh.tuning import (
    KnobState,
    Tuned,
    TuningData,
    TuningProfile,
    find_profile,
    load_tuning,
    misfits,
    parse_rows,
    tune_argv,
    tuning_parameters,
)

DATA = TuningData.model_validate_json(
    '{"version": 1, "knobs": {"governor": "/c/*/gov", "boost": "/b"}, "profiles": {}}'
)
FAST = TuningProfile(summary="", knobs={"governor": "performance"})


def knobs(text, profile=FAST):
    return {knob.name: knob for knob in parse_rows(text, profile, DATA)}


def test_every_profile_that_comes_along_is_whole():
    data = load_tuning()
    assert {"none", "generic-x86", "threadripper"} <= set(data.profiles)
    for name in data.profiles:
        profile = find_profile(name, data)
        assert set(profile.knobs) <= set(data.knobs), name
        assert all(re.fullmatch("[A-Za-z0-9_.,:=+-]+", word) for word in tune_argv(profile, 9))
    assert not find_profile("none", data).knobs
    assert find_profile("threadripper", data).knobs["governor"] == "performance"


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(InputError, match=r"unknown profile turbo; expected one of .*threadripper"):
        tuning_parameters("turbo")


def test_a_profile_is_refused_on_hosts_of_another_architecture():
    assert misfits("threadripper", ARM64) == [
        "tuning: threadripper is for x86_64; for arm64: generic, generic-arm64, none"
    ]
    assert misfits("generic", ARM64) == misfits("generic-arm64", ARM64) == []
    assert misfits("isolated", X86_64) == []
    data = load_tuning()
    assert find_profile("generic-arm64", data).knobs["governor"] == "performance"
    with pytest.raises(InputError, match="unknown profile turbo"):
        misfits("turbo", X86_64)


def test_isolation_is_asked_for_on_the_command_line():
    assert "nohz_full=1-N" in tuning_parameters("isolated")
    assert tuning_parameters("none") == ()


def test_the_helper_is_told_what_to_set():
    assert tune_argv(FAST, 60) == ("tune", "60", "governor=performance")


@pytest.mark.parametrize(
    ("now", "state", "condition"),
    [
        (["performance", "performance"], KnobState.SET, "performance"),
        (["performance", "powersave"], KnobState.PARTLY, "partly set"),
        (["powersave", "powersave"], KnobState.REFUSED, "powersave"),
        ([], KnobState.ABSENT, "absent"),
    ],
)
def test_what_was_read_back_decides(now, state, condition):
    rows = "".join(f"governor\t/c/{n}/gov\tpowersave\t{value}\n" for n, value in enumerate(now))
    knob = knobs(rows)["governor"]
    assert (knob.state, knob.condition) == (state, condition)


def test_values_of_many_files_are_counted():
    rows = "boost\t/b\t1\t1\nboost\t/b2\t0\t1\n"
    knob = knobs(rows)["boost"]
    assert (knob.state, knob.before, knob.now) == (KnobState.READ, "0 x1, 1 x1", "1")


def test_facts_and_conditions_name_every_knob():
    tuned = Tuned("fast", parse_rows("governor\t/c/0/gov\tpowersave\tperformance\n", FAST, DATA))
    assert tuned.conditions() == {
        "tuning of governor": "performance",
        "tuning of boost": "absent",
    }
    assert tuned.facts()["knobs"]["governor"] == {
        "wanted": "performance",
        "state": "set",
        "before": "powersave",
        "now": "performance",
    }


@given(st.text())
def test_no_output_breaks_it(text):
    assert set(knobs(text)) == {"governor", "boost"}
