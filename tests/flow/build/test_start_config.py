"""Kernels that start from a configuration of the user's instead of nothing, with the toy kernel."""

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.build.cache import Cache
from harness.build.construct import build_kernel
from harness.build.kernel import BuiltKernel, ensure_kernel, load_built
from harness.build.plan import plan_build
from harness.build.source import ensure_source
from harness.build.start_config import LOCALYES, checked_text, read_start_config
from harness.errors import InputError
from harness.process import SubprocessRunner
from harness.spec.kernel import KernelSpec

Toy = Callable[..., KernelSpec]


@pytest.fixture
def required(kernels: Path) -> Path:
    """The toy's form of what the harness must have, which replaces the shipped one."""
    (kernels / "fragments").mkdir()
    path = kernels / "fragments/required.config"
    path.write_text("CONFIG_SMP=y\nCONFIG_TEST_VMALLOC=m\n")
    return path


@pytest.fixture
def build(cache: Cache, runner: SubprocessRunner) -> Callable[[KernelSpec], BuiltKernel]:
    return lambda spec: ensure_kernel(spec, cache, runner, lambda _: None)


def lines(built: BuiltKernel) -> set[str]:
    return set(built.config.read_text().splitlines())


@pytest.mark.usefixtures("required")
def test_a_kernel_starts_from_a_config(build, toy: Toy, kernels: Path) -> None:
    (kernels / "mine.config").write_text("CONFIG_HZ=1000\nCONFIG_DEBUG_KERNEL=y\nCONFIG_SERIAL=m\n")
    spec = toy(config="mine.config", fragments=())
    built = build(spec)
    assert lines(built) >= {"CONFIG_HZ=1000", "CONFIG_DEBUG_KERNEL=y", "CONFIG_TEST_VMALLOC=m"}
    assert "# CONFIG_SERIAL is not set" in lines(built)
    assert built.added == ["CONFIG_SMP=y", "CONFIG_TEST_VMALLOC=m"]
    assert built.dropped_modules == 1
    assert built.critical["HZ"] == "1000"
    own = build(toy(config="mine.config", fragments=("base.config",)))
    assert own.critical["HZ"] == "250"
    assert own.added == ["CONFIG_SMP=y", "CONFIG_TEST_VMALLOC=m", "CONFIG_HZ=250"]
    (kernels / "mine.config").write_text("CONFIG_HZ=1000\nCONFIG_TEST_VMALLOC=m\nCONFIG_SMP=y\n")
    other = build(spec)
    assert other.key != built.key
    assert (other.added, other.dropped_modules) == ([], 0)
    assert load_built(other.folder).key == other.key


@pytest.mark.usefixtures("required")
def test_a_kernel_starts_from_a_defconfig_of_its_tree(build, toy: Toy) -> None:
    built = build(toy(config="toy_defconfig", fragments=()))
    assert lines(built) >= {"CONFIG_HZ=100", "CONFIG_DEBUG_KERNEL=y", "CONFIG_SMP=y"}
    assert "# CONFIG_SERIAL is not set" in lines(built)
    with pytest.raises(InputError, match="no other_defconfig; it has toy_defconfig"):
        build(toy(config="other_defconfig", fragments=()))


@pytest.mark.usefixtures("required")
def test_localyesconfig_has_what_this_machine_has_loaded(
    toy: Toy, cache: Cache, runner: SubprocessRunner, tmp_path: Path
) -> None:
    spec = toy(config=LOCALYES, fragments=())
    with pytest.raises(InputError, match="running kernel's configuration"):
        read_start_config(spec, tmp_path)
    (tmp_path / "proc").mkdir()
    text = "CONFIG_HZ=300\nCONFIG_SERIAL=m\n"
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(text.encode()))
    assert read_start_config(spec, tmp_path).modules == "Module Size Used by\n"
    loaded = "serial 4096 2 - Live 0x0\next4 1 1 - Live 0x0\n"
    (tmp_path / "proc/modules").write_text(loaded)
    start = read_start_config(spec, tmp_path)
    assert start.modules == "Module Size Used by\next4 0 0\nserial 0 0\n"
    (tmp_path / "boot").mkdir()
    (tmp_path / "proc/config.gz").unlink()
    (tmp_path / f"boot/config-{os.uname().release}").write_text(text)
    assert read_start_config(spec, tmp_path) == start
    plan = replace(plan_build(toy(fragments=()), cache, runner), start=start)
    plan = replace(plan, fragments=(spec.place("fragments/required.config"),))
    pristine = ensure_source(plan.source, cache, lambda _: None)
    folder = tmp_path / "built"
    folder.mkdir()
    build_kernel(plan, pristine, folder, cache, runner, lambda *_: None)
    made = set((folder / "config").read_text().splitlines())
    assert made >= {"CONFIG_HZ=300", "CONFIG_SERIAL=y", "CONFIG_TEST_VMALLOC=m"}


def test_what_is_no_configuration_is_refused(toy: Toy, kernels: Path) -> None:
    (kernels / "a.out").write_bytes(b"\x7fELF\0\0")
    for name in ("a.out", "none.config"):
        with pytest.raises(InputError, match=f"config: .*{name}"):
            read_start_config(toy(config=name))
    with pytest.raises(InputError, match="is not a kernel configuration"):
        checked_text(b"CONFIG_A=y\n" * (1 << 19), "large")
    with pytest.raises(InputError, match="is not a kernel configuration"):
        checked_text(gzip.compress(b"CONFIG_A=y\n" * (1 << 19)), "bomb")
    with pytest.raises(InputError, match="broken"):
        checked_text(b"\x1f\x8bnonsense", "broken")


def test_the_shipped_requirement_is_what_shipped_kernels_have() -> None:
    """A symbol in one that a guest's kernel does not have is a mistake in either."""
    from harness.build.fragments import load_requests
    from harness.spec.shipped import shipped_folder

    folder = shipped_folder() / "kernels/fragments"
    required = load_requests([folder / "required.config"])
    base = load_requests([folder / "base.config"])
    only_off = {"MODULE_SIG_FORCE", "SYSTEM_TRUSTED_KEYS", "SYSTEM_REVOCATION_KEYS"}
    assert set(required) - set(base) == only_off
    both = set(required) & set(base)
    assert all(required[name].alternatives == base[name].alternatives for name in both)
