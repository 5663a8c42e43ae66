from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build.kconfig import (
    CRITICAL,
    check_requests,
    critical_differences,
    critical_values,
    parse_config,
)
from harness.errors import InputError

symbols = st.from_regex(r"\A[A-Z0-9_]{1,12}\Z")
values = st.sampled_from(["y", "m", "n", "250", '"text"'])


@given(st.dictionaries(symbols, values))
def test_reads_what_kconfig_writes(config: dict[str, str]) -> None:
    text = "".join(
        f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
        for name, value in config.items()
    )
    assert parse_config("#\n# a comment\n\n" + text) == config


def fragment(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_dropped_symbol_is_named_with_its_fragment(tmp_path: Path) -> None:
    one = fragment(tmp_path, "one.config", "CONFIG_A=y\nCONFIG_B=y\n")
    two = fragment(tmp_path, "two.config", "CONFIG_C=n\nCONFIG_D=250\n")
    with pytest.raises(InputError) as caught:
        check_requests([one, two], {"A": "y", "C": "y", "D": "100"})
    message = str(caught.value)
    assert "CONFIG_B: one.config asks for y" in message
    assert "CONFIG_C: two.config asks for n, the kernel gives y" in message
    assert "CONFIG_D: two.config asks for 250, the kernel gives 100" in message
    assert "CONFIG_A" not in message


def test_the_last_fragment_decides(tmp_path: Path) -> None:
    one = fragment(tmp_path, "one.config", "CONFIG_A=y\n")
    two = fragment(tmp_path, "two.config", "# CONFIG_A is not set\n")
    check_requests([one, two], {"A": "n"})
    with pytest.raises(InputError):
        check_requests([two, one], {"A": "n"})


def test_critical_symbols_follow_renames() -> None:
    old = critical_values({"RETPOLINE": "y", "BASE_SMALL": "0"})
    new = critical_values({"MITIGATION_RETPOLINE": "y"})
    assert critical_differences(old, new) == {}
    assert old["MITIGATION_RETPOLINE"] == "y"


def test_differences_name_both_values() -> None:
    one = critical_values({"PROVE_LOCKING": "y", "HZ": "250", "SERIAL_8250": "y"})
    other = critical_values({"HZ": "1000"})
    assert critical_differences(one, other) == {
        "HZ": ("250", "1000"),
        "PROVE_LOCKING": ("y", "n"),
    }


def test_the_list_has_no_symbol_twice() -> None:
    assert len(CRITICAL) == len(set(CRITICAL))
