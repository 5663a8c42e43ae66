"""A further architecture is one record: everything that a guest is made of follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.build.kernel import BuiltKernel
from harness.build.module import module_argv
from harness.build.stack import annotate_stack
from harness.build.tuxmake import Toolchain, tuxmake_argv
from harness.errors import InputError, SpecError
from harness.guest.initramfs import render_script
from harness.process import Completed
from harness.run.session import make_target
from harness.spec import architecture
from harness.spec.architecture import ARCHITECTURES, ARM64, X86_64
from harness.spec.kernel import load_kernel_spec, one_architecture
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import Guest, common_parameters, qemu_argv
from harness.targets.simulated.spec import SimulatedSpec

MADE_UP = replace(
    ARM64,
    name="sparc",
    machine="made_up64",
    source="made_up",
    image="vmlinuz",
    triplet="made-up-linux",
    packages="made-up",
    fragments=("fragments/base.config", "fragments/made-up.config"),
    required=("fragments/made-up.config",),
    qemu="qemu-system-made-up",
    machines=((4, "small"), (64, "large")),
    cpu_model="fast",
    console="ttyM0",
    report="/dev/ttyM7",
    report_options=("-device", "made-up-serial,chardev=report"),
    boot_parameters=("quirk",),
    probe=None,
)
KERNEL = "version: 1\narchitecture: sparc\nsource: {tarball: linux.tar}\nfragments: [f.config]\n"


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setitem(architecture.ARCHITECTURES, MADE_UP.name, MADE_UP)
    (tmp_path / "one.yaml").write_text(KERNEL)
    spec = load_kernel_spec("one", tmp_path)
    return BuiltKernel.at(tmp_path / "entry", spec)


def test_the_build_follows(kernel):
    assert kernel.image.name == "vmlinuz"
    toolchain = Toolchain("gcc", "12", ccache=False, arch=kernel.spec.arch)
    argv = tuxmake_argv(toolchain, Path("/t"), Path("/o"), "default", {})
    assert "--target-arch=sparc" in argv
    module = module_argv(kernel, Path("/m"))
    for word in ("ARCH=sparc", "CROSS_COMPILE=made-up-linux-", "CC=made-up-linux-gcc"):
        assert word in module


class Versioned:
    """A runner on a machine that has every QEMU."""

    def run(self, argv, **_):
        return Completed(tuple(argv), 0, "QEMU emulator version 10.0.2\n", 0.0)


def test_the_command_line_of_a_guest_follows(kernel, tmp_path):
    spec = QemuSpec(kind="qemu", accelerator="auto", cpus=5)
    target = make_target(spec, tmp_path, Versioned(), one_architecture([kernel.spec]))
    request = BootRequest(kernel, 5, ("",), 512, 1.0, tmp_path)
    (argv,) = target.command_lines(request)
    assert argv[0] == "qemu-system-made-up"
    assert argv[argv.index("-machine") + 1] == "large"
    assert argv[argv.index("-cpu") + 1] == "fast"
    assert argv[argv.index("-accel") + 1].startswith("tcg")  # no KVM for it on this machine
    assert argv[argv.index("-append") + 1].startswith("console=ttyM0 ")
    assert argv[argv.index("-append") + 1].endswith(" quirk")
    assert "made-up-serial,chardev=report" in argv
    assert argv[argv.index("-kernel") + 1] == str(kernel.image)
    with pytest.raises(InputError, match=r"cpus: 65, but a guest of sparc has at most 64"):
        target.command_lines(replace(request, cpus=65))


def test_init_reports_to_its_device():
    lines = render_script("aa", ["log"], MADE_UP).splitlines()
    assert lines == ["report /dev/ttyM7", "nonce aa", "log"]


def test_the_simulated_machine_says_that_it_knows_x86_only(tmp_path):
    spec = SimulatedSpec(kind="simulated")
    with pytest.raises(InputError, match="x86_64 kernels only.*arm64"):
        make_target(spec, tmp_path, Versioned(), ARM64)


def test_kernels_of_two_architectures_are_not_one_run(kernel, tmp_path):
    (tmp_path / "two.yaml").write_text(KERNEL.replace("sparc", "x86_64"))
    with pytest.raises(InputError, match=r"two is for x86_64.*one is for sparc"):
        one_architecture([load_kernel_spec("two", tmp_path), kernel.spec])


def test_an_unknown_architecture_is_refused_with_its_line_and_what_there_is(tmp_path):
    (tmp_path / "odd.yaml").write_text(KERNEL.replace("sparc", "vax"))
    with pytest.raises(SpecError, match=r"2: architecture: .*'vax': expected one of x86_64, arm64"):
        load_kernel_spec("odd", tmp_path)


def test_kernels_for_lab_hosts_have_what_their_architecture_takes(repository):
    names = [path.stem for path in (repository / "kernels").glob("lab-*.yaml")]
    specs = [load_kernel_spec(name, repository / "kernels") for name in names]
    assert {spec.arch.name for spec in specs} == {"x86_64", "arm64"}
    for spec in specs:
        fragments = (*spec.arch.fragments, *spec.arch.lab_fragments)
        assert spec.fragments[: len(fragments)] == fragments, spec.name


def guest(arch, cpus, accelerator="tcg"):
    machine = Guest(cpus, 512, Path("i"), Path("r"), common_parameters(arch), arch, accelerator)
    return qemu_argv(machine, Path("c"), Path("r"), Path("m"))


def test_arm64_has_the_interrupt_controller_that_its_cpus_need():
    for cpus in (2, 8, 9, 512):  # GICv2 ends at 8; one machine for a whole sweep
        assert "virt,gic-version=3" in guest(ARM64, cpus)
    with pytest.raises(InputError, match="at most 512"):
        guest(ARM64, 513)
    argv = guest(ARM64, 64, "kvm")
    assert "virt,gic-version=host" in argv
    assert argv[argv.index("-cpu") + 1] == "host"


def test_names_are_the_keys_of_the_table():
    assert all(name == record.name for name, record in ARCHITECTURES.items())
    assert X86_64.is_native("x86_64")
    assert X86_64.cross_prefix("aarch64") == "x86_64-linux-gnu-"
    assert ARM64.cross_prefix("aarch64") == ""
    assert (X86_64.how_to_install(), ARM64.how_to_install()) == (
        "setup/install.sh",
        "setup/install.sh arm64",
    )


@pytest.mark.parametrize("place", ["RIP: 0010:", "pc : "])
def test_the_instruction_of_an_oops_is_told_from_a_return_address(place):
    entry = "vfree+0x10/0x40"
    assert annotate_stack(f"{place}{entry}", {entry: "mm/vmalloc.c:1"}).endswith("(mm/vmalloc.c:1)")
