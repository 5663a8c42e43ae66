from dataclasses import replace
from pathlib import Path

import pytest

from harness.build.kernel import BuiltKernel
from harness.errors import InputError, ToolError
from harness.process import Completed
from harness.spec.kernel import DebianSource, KernelSpec
from harness.targets.base import BootRequest
from harness.targets.simulated.spec import SimulatedSpec
from harness.targets.simulated.target import (
    SimulatedTarget,
    SimulationOptions,
    check_kernel,
    marked_script,
)


class OldQemu:
    """A machine whose QEMU is Debian 12's own."""

    def run(self, argv, **_):
        return Completed(tuple(argv), 0, "QEMU emulator version 7.2.22 (Debian 1:7.2)\n", 0.0)

    def spawn(self, argv, **_):
        raise AssertionError("nothing may be started")


@pytest.fixture
def request_(tmp_path):
    spec = KernelSpec(
        version=1,
        name="k",
        source=DebianSource(debian="linux-source-6.12"),
        boot_parameters=("vmap_nodes=1",),
        folder=tmp_path,
    )
    config = tmp_path / "config"
    config.write_text("CONFIG_HPET_TIMER=y\nCONFIG_SMP=y\n")
    paths = {
        name: tmp_path / name for name in ("image", "module", "vmlinux", "system_map", "folder")
    }
    kernel = BuiltKernel(spec=spec, key="0", config=config, release="6.12", critical={}, **paths)
    return BootRequest(kernel, 64, ("nr_threads=64",), 2048, 60.0, tmp_path)


def target(tmp_path, runner=None, **keys):
    return SimulatedTarget(SimulatedSpec(kind="simulated", **keys), tmp_path, runner)


def value(argv, option):
    return argv[argv.index(option) + 1]


def test_the_command_says_all_that_makes_a_run_repeat(tmp_path, request_):
    (argv,) = target(tmp_path).command_lines(request_)
    assert argv[:2] == ("setarch", "--addr-no-randomize")
    assert value(argv, "-seed") == "1"
    assert value(argv, "-rtc") == "base=2026-01-01,clock=vm"
    assert "-tsc" in value(argv, "-cpu")
    assert "seed=0" in value(argv, "-plugin")


def test_a_repeat_has_a_seed_of_its_own_in_every_process(tmp_path, request_):
    for repeat in (1, 2):
        again = replace(request_, repeat=repeat)
        (argv,) = target(tmp_path).command_lines(again)
        assert f"seed={repeat}" in value(argv, "-plugin").split(",")


def test_the_kernel_keeps_time_with_the_hpet(tmp_path, request_):
    (argv,) = target(tmp_path, boot_parameters=("init_on_alloc=1",)).command_lines(request_)
    words = value(argv, "-append").split()
    assert {"clocksource=hpet", "init_on_alloc=1", "vmap_nodes=1"} <= set(words)


def test_a_guest_may_have_more_memory_than_the_host(tmp_path, request_):
    (argv,) = target(tmp_path).command_lines(replace(request_, memory_mib=40_000))
    assert "memory-backend-ram,id=ram,size=40000M,reserve=off" in argv
    assert "memory-backend=ram" in argv


def test_a_comma_in_the_folder_does_not_become_an_option(tmp_path, request_):
    request = replace(request_, folder=Path("/a,b"))
    (argv,) = target(tmp_path).command_lines(request)
    assert value(argv, "-plugin").endswith(",out=/a,,b")


def test_windows_and_counted_instructions_reach_the_plugin(tmp_path, request_):
    spec = SimulatedSpec(kind="simulated")
    simulation = SimulationOptions(window_ms=2, counted=(0xFFFFFFFF81000000, 0xFFFFFFFF81000010))
    watched = SimulatedTarget(spec, tmp_path, None, simulation=simulation)
    (argv,) = watched.command_lines(request_)
    plugin = value(argv, "-plugin").split(",")
    assert f"window={2_000_000 * 3700 // 1000 * 1024}" in plugin
    assert [word for word in plugin if word.startswith("count=")] == [
        "count=ffffffff81000000",
        "count=ffffffff81000010",
    ]


def test_loads_stand_between_marks():
    lines = marked_script(["nr_threads=1", "nr_threads=2"])
    loads = [i for i, line in enumerate(lines) if line.startswith("load ")]
    assert len(loads) == 2
    for i in loads:
        assert lines[i - 1] == lines[i + 1] == "mark"


def test_a_kernel_without_hpet_is_refused_before_any_boot(request_):
    request_.kernel.config.write_text("CONFIG_SMP=y\n")
    with pytest.raises(InputError, match=r"need CONFIG_HPET_TIMER=y in its configuration"):
        check_kernel(request_)


def test_more_cpus_than_can_be_addressed_are_refused_before_any_boot(request_):
    with pytest.raises(InputError, match="found 513 CPUs, expected at most 512"):
        check_kernel(replace(request_, cpus=513))
    with pytest.raises(InputError, match="256 simulated CPUs need CONFIG_X86_X2APIC=y, CONFIG_IRQ"):
        check_kernel(replace(request_, cpus=256))


def test_an_old_qemu_is_refused_before_any_boot(tmp_path):
    with pytest.raises(ToolError, match=r"QEMU 9\.2\.0 or newer, found 7\.2\.22"):
        target(tmp_path, OldQemu()).check()


def test_an_unknown_machine_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown machine model"):
        target(tmp_path, machine="pdp-11")


@pytest.mark.parametrize(("guest", "word"), [(False, "-hypervisor"), (True, "+hypervisor")])
def test_the_cpus_say_that_they_are_a_guest_s_where_asked_for(tmp_path, request_, guest, word):
    options = SimulationOptions(hypervisor=guest)
    spec = SimulatedSpec(kind="simulated")
    (argv,) = SimulatedTarget(spec, tmp_path, None, simulation=options).command_lines(request_)
    assert value(argv, "-cpu").split(",")[1] == word
