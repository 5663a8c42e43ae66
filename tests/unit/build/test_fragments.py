import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build.fragments import (
    Declared,
    choose,
    declared_symbols,
    ignored_requests,
    load_requests,
)
from harness.build.kconfig import parse_config
from harness.errors import InputError


def fragment(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def declaring(symbols, renamed=()) -> Declared:
    return Declared(frozenset(symbols), renamed=dict(renamed))


def granting(values: dict[str, str]):
    """Replace olddefconfig by a kernel that always gives these values."""
    return lambda _: values


def given_if_known(known: set[str]):
    """Stand in for olddefconfig: grants what the kernel knows, drops the rest."""
    return lambda text: {n: v for n, v in parse_config(text).items() if n in known}


def test_a_dropped_symbol_is_named_with_its_fragment(tmp_path: Path) -> None:
    one = fragment(tmp_path, "one.config", "CONFIG_A=y\nCONFIG_B=y\n")
    two = fragment(tmp_path, "two.config", "CONFIG_C=n\nCONFIG_D=250\nCONFIG_E=y\n")
    gives = granting({"A": "y", "C": "y", "D": "100"})
    with pytest.raises(InputError) as caught:
        choose(load_requests([one, two]), declaring("ABCD"), gives)
    message = str(caught.value)
    assert "one.config asks for CONFIG_B=y; the kernel gives B=n (a dependency" in message
    assert "two.config asks for CONFIG_C=n; the kernel gives C=y" in message
    assert "two.config asks for CONFIG_D=250; the kernel gives D=100" in message
    assert "two.config asks for CONFIG_E=y; the kernel gives E=absent" in message
    assert "CONFIG_A" not in message.partition("next:")[0]


def test_the_last_fragment_decides(tmp_path: Path) -> None:
    one = fragment(tmp_path, "one.config", "CONFIG_A=y | CONFIG_B=y\n")
    two = fragment(tmp_path, "two.config", "# CONFIG_A is not set\n")
    choose(load_requests([one, two]), declaring("A"), granting({"A": "n"}))
    with pytest.raises(InputError):
        choose(load_requests([two, one]), declaring("A"), granting({"A": "n"}))


def test_the_first_alternative_that_the_kernel_grants_is_taken(tmp_path: Path) -> None:
    text = "CONFIG_NONE=y | CONFIG_VOLUNTARY=y | CONFIG_LAZY=y\nCONFIG_PARTIAL=y | absent\n"
    requests = load_requests([fragment(tmp_path, "base.config", text)])
    old = choose(
        requests,
        declaring({"A", "VOLUNTARY", "PARTIAL"}),
        given_if_known({"A", "VOLUNTARY", "PARTIAL"}),
    )
    assert old.chosen == {"NONE": "CONFIG_VOLUNTARY=y", "PARTIAL": "CONFIG_PARTIAL=y"}
    # declared, and yet not granted: it is the kernel's answer that counts, not the declaration
    new = choose(requests, declaring({"A", "VOLUNTARY", "LAZY"}), given_if_known({"A", "LAZY"}))
    assert new.chosen == {"NONE": "CONFIG_LAZY=y", "PARTIAL": "absent"}


def test_absent_is_not_what_a_missing_dependency_gives(tmp_path: Path) -> None:
    requests = load_requests([fragment(tmp_path, "base.config", "CONFIG_PARTIAL=y | absent\n")])
    with pytest.raises(InputError, match=r"CONFIG_PARTIAL=y \| absent; .*a dependency is missing"):
        choose(requests, declaring({"PARTIAL"}), granting({}))


@pytest.mark.parametrize("line", ["CONFIG_A=y | ", "CONFIG_A=y | B=y", "absent | CONFIG_A=y"])
def test_an_alternative_that_is_none_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = fragment(tmp_path, "base.config", "# first\n" + line + "\n")
    with pytest.raises(InputError, match=r"base\.config:2: .* is neither CONFIG_SYMBOL=value"):
        load_requests([path])


@given(
    st.lists(st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=4, unique=True), max_size=4),
    st.sets(st.sampled_from("ABCDE")),
)
def test_what_is_chosen_is_granted_and_the_first_such(tmp_path_factory, lines, known) -> None:
    text = "".join(" | ".join(f"CONFIG_{s}=y" for s in line) + "\n" for line in lines)
    requests = load_requests([fragment(tmp_path_factory.mktemp("f"), "x.config", text)])
    wanted = {line[0]: next((s for s in line if s in known), None) for line in lines}
    if None in wanted.values():
        with pytest.raises(InputError):
            choose(requests, declaring(known), given_if_known(known))
        return
    chosen = choose(requests, declaring(known), given_if_known(known)).chosen
    assert all(chosen[name] == f"CONFIG_{wanted[name]}=y" for name in chosen)


def test_finds_what_any_kconfig_file_declares(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "Kconfig").write_text('config A\n\tbool "a"\nmenuconfig B\n')
    (tmp_path / "mm/Kconfig.debug").write_text("choice\n\tconfig C_1\n\t\tbool\nendchoice\n")
    assert declared_symbols(tmp_path, "x86").own == {"A", "B", "C_1"}


def test_what_only_other_architectures_declare_is_passed_over(tmp_path: Path) -> None:
    for place, text in (
        ("kernel/Kconfig", "config SMP\n"),
        ("arch/Kconfig", "config SHARED\n"),
        ("arch/x86/Kconfig", "config X86_PAT\nconfig PCI\n"),
        ("arch/arm64/Kconfig", "config ARM64_PAN\nconfig PCI\n"),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    declared = declared_symbols(tmp_path, "arm64")
    assert declared == Declared(
        frozenset({"SMP", "SHARED", "PCI", "ARM64_PAN"}), frozenset({"X86_PAT"})
    )
    text = "CONFIG_X86_PAT=y\nCONFIG_X86_PAD=y\nCONFIG_PCI=y\n"  # a misspelt one is a fault
    requests = load_requests([fragment(tmp_path, "x.config", text)])
    assert ignored_requests(requests, declared) == ["X86_PAT"]


def test_odd_files_named_like_kconfig_declare_nothing(tmp_path):
    tree = tmp_path / "tree"
    (tree / "mm").mkdir(parents=True)
    (tree / "mm/Kconfig").write_text("config INSIDE\n")
    (tree / "Kconfig.link").symlink_to("mm/Kconfig")
    (tree / "Kconfig.dangling").symlink_to("nowhere")
    (tree / "Kconfig.loop").symlink_to("Kconfig.loop")
    (tmp_path / "outside").write_text("config OUTSIDE\n")
    (tree / "Kconfig.out").symlink_to("../outside")
    os.mkfifo(tree / "Kconfig.pipe")
    assert declared_symbols(tree, "x86").own == {"INSIDE"}


def test_a_symbol_that_the_kernel_renamed_is_asked_for_by_its_new_name(tmp_path):
    # As 7.3 has it in mm/Kconfig: `OLD=y` in a .config stays without effect where all that nobody
    # asks for is off, and OLD is never written, so its value would always look like "n".
    kconfig = """\
config PARTITION
    depends on !TINY
    bool "Partitioned caches"
    default RANDOM
    help
      config of RANDOM, once.

config TINY
    bool "tiny"
    default EMBEDDED

config RANDOM
    bool
    transitional
    help
      Transitional config for migration to PARTITION.
"""
    (tmp_path / "Kconfig").write_text(kconfig)
    declared = declared_symbols(tmp_path, "x86")
    assert declared.own >= {"PARTITION", "TINY"}
    assert "RANDOM" not in declared.own
    assert declared.renamed == {"RANDOM": "PARTITION"}
    requests = load_requests([fragment(tmp_path, "x.config", "CONFIG_RANDOM=y\n")])
    made = choose(requests, declared, given_if_known({"PARTITION"}))
    assert made.values == {"PARTITION": "y"}
    assert made.chosen == {"RANDOM": "CONFIG_PARTITION=y"}
    with pytest.raises(InputError, match="asks for CONFIG_PARTITION=y; the kernel gives PARTITION"):
        choose(requests, declared, given_if_known(set()))
