from hypothesis import given
from hypothesis import strategies as st

from harness.build.kconfig import (
    CRITICAL,
    critical_differences,
    critical_values,
    parse_config,
)

symbols = st.from_regex(r"\A[A-Z0-9_]{1,12}\Z")
values = st.sampled_from(["y", "m", "n", "250", '"text"', '"a=b"'])


@given(st.dictionaries(symbols, values))
def test_reads_what_kconfig_writes(config: dict[str, str]) -> None:
    text = "".join(
        f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n"
        for name, value in config.items()
    )
    assert parse_config("#\n# a comment\n\n" + text) == config


def test_critical_symbols_follow_renames() -> None:
    old = critical_values({"RETPOLINE": "y", "BASE_SMALL": "0"}, {"RETPOLINE", "BASE_SMALL"})
    new = critical_values({"MITIGATION_RETPOLINE": "y"}, {"MITIGATION_RETPOLINE", "BASE_SMALL"})
    assert critical_differences({"old": old, "new": new}) == {}
    assert old["MITIGATION_RETPOLINE"] == "y"
    assert old["BASE_SMALL"] == "n"


def test_a_critical_symbol_that_a_kernel_renamed_is_compared_by_its_new_name() -> None:
    old = critical_values({"RANDOM_KMALLOC_CACHES": "n"}, {"RANDOM_KMALLOC_CACHES"})
    renamed = {"RANDOM_KMALLOC_CACHES": "KMALLOC_PARTITION_CACHES"}  # 7.3, mm/Kconfig
    new = critical_values({"KMALLOC_PARTITION_CACHES": "y"}, {"KMALLOC_PARTITION_CACHES"}, renamed)
    assert critical_differences({"old": old, "new": new}) == {
        "RANDOM_KMALLOC_CACHES": {"old": "n", "new": "y"}
    }


def test_differences_name_every_kernels_value() -> None:
    one = critical_values({"PROVE_LOCKING": "y", "HZ": "250", "SERIAL_8250": "y"}, CRITICAL)
    other = critical_values({"HZ": "1000"}, CRITICAL)
    assert critical_differences({"one": one, "other": other}) == {
        "HZ": {"one": "250", "other": "1000"},
        "PROVE_LOCKING": {"one": "y", "other": "n"},
    }


def test_a_symbol_that_a_kernel_does_not_know_is_absent_not_off() -> None:
    partial = critical_values({"SLUB_CPU_PARTIAL": "y"}, CRITICAL)
    sheaves = critical_values({}, set(CRITICAL) - {"SLUB_CPU_PARTIAL", "X86_5LEVEL"})
    assert (sheaves["SLUB_CPU_PARTIAL"], sheaves["SLUB_TINY"]) == ("absent", "n")
    # off and absent are alike; on and absent are not
    assert critical_differences({"old": partial, "new": sheaves}) == {
        "SLUB_CPU_PARTIAL": {"old": "y", "new": "absent"}
    }


def test_the_list_has_no_symbol_twice() -> None:
    assert len(CRITICAL) == len(set(CRITICAL))
