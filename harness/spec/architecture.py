"""The architectures that kernels are built for, one record each.

A new architecture is a record here and a fragment in kernels/fragments; what is built, a guest's
command line, its init and its checks follow from them. Pure.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import InputError


@dataclass(frozen=True)
class Probe:
    """A firmware image of a few instructions, which shows whether an accelerator runs at all.

    `code` is placed `offset` bytes into the image of `size` bytes (from its end if negative) and
    makes QEMU exit with `status`. `options`: further options of QEMU.
    """

    code: bytes
    offset: int
    size: int
    status: int
    options: tuple[str, ...] = ()

    def image(self) -> bytes:
        """Return the image, for QEMU's -bios."""
        image = bytearray(self.size)
        at = self.offset % self.size
        image[at : at + len(self.code)] = self.code
        return bytes(image)


@dataclass(frozen=True)
class Architecture:
    """One architecture. Devices have the names that the guest's kernel gives them.

    `machines`: pairs of the most CPUs and the QEMU machine for them, smallest first.
    `split_tables`: user and kernel space have separate page tables, so that no address bit is
    spent on distinguishing them.
    """

    name: str  # in kernel files; as kbuild (ARCH=) and tuxmake call it
    machine: str  # as reported by uname -m
    source: str  # folder below arch/ of the kernel's source
    image: str  # the image that is booted, below arch/SOURCE/boot
    triplet: str  # of the cross toolchain: TRIPLET-gcc
    packages: str  # group of setup/packages.txt; empty: nothing beyond `all`
    fragments: tuple[str, ...]  # default configuration of a guest's kernel
    required: tuple[str, ...]  # without these no guest boots, whatever its configuration
    qemu: str
    machines: tuple[tuple[int, str], ...]
    kvm_machine: str  # under KVM, where the host limits the choice; empty: the same
    cpu_model: str
    kvm_cpu_model: str  # empty: the same
    console: str
    report: str  # the device to which init reports
    report_options: tuple[str, ...]  # what connects it to the character device `report`
    boot_parameters: tuple[str, ...]
    command_line_bytes: int  # COMMAND_LINE_SIZE, less the NUL
    page_sizes: tuple[int, ...]  # bytes; the first is the default
    vmalloc: tuple[int, int]  # range with the first page size, without KASLR
    split_tables: bool
    kvm_flags: tuple[str, ...] = ()  # in /proc/cpuinfo, of a CPU that supports virtualisation
    probe: Probe | None = None  # None: only booting a kernel shows it
    exact_address: str = "pc : "  # precedes the instruction's address in an oops
    five_levels_flag: str = ""  # in /proc/cpuinfo, with five-level page tables
    cpu_lines: tuple[str, ...] = ()  # of /proc/cpuinfo, which together identify the CPU
    stepping_lines: tuple[str, ...] = ()
    cpu_names: Mapping[str, str] = field(default_factory=dict)  # by the values of `cpu_lines`
    lab_fragments: tuple[str, ...] = ("fragments/lab.config",)  # added for a lab host's kernel
    network_drivers: tuple[str, ...] = ()  # of lab hosts' kernels, beyond lab.config's

    @property
    def image_path(self) -> str:
        """Path of the kernel's image in a build folder."""
        return f"arch/{self.source}/boot/{self.image}"

    @property
    def most_cpus(self) -> int:
        """The most CPUs of any of QEMU's machine types here."""
        return self.machines[-1][0]

    def is_native(self, host: str | None = None) -> bool:
        """Return whether `host` (as from uname -m; default: this machine) has this architecture.

        Only then can guests use KVM, and the compiler is the plain gcc.
        """
        return (host or os.uname().machine) == self.machine

    def cross_prefix(self, host: str | None = None) -> str:
        """Return the prefix (CROSS_COMPILE) of its compiler and binutils on `host`."""
        return "" if self.is_native(host) else f"{self.triplet}-"

    def how_to_install(self) -> str:
        """Return the command that installs its compiler and QEMU."""
        return f"setup/install.sh {self.packages}".strip()

    def machine_for(self, cpus: int, accelerator: str) -> str:
        """Return the QEMU machine for that many CPUs. Raises InputError for too many."""
        if cpus > self.most_cpus:
            raise InputError(
                f"target: cpus: {cpus}, but a guest of {self.name} has at most {self.most_cpus}"
            )
        if accelerator == "kvm" and self.kvm_machine:
            return self.kvm_machine
        return next(machine for most, machine in self.machines if cpus <= most)

    def cpu_model_for(self, accelerator: str) -> str:
        """Return the CPU model of guests under QEMU's `accelerator`, as `-cpu` takes it."""
        return self.kvm_cpu_model if accelerator == "kvm" and self.kvm_cpu_model else self.cpu_model

    def paging_levels(self, page_size: int, user_bits: int) -> int:
        """Return the number of page table levels for `user_bits` of virtual address.

        A table fills one page (`page_size` bytes) with entries of 8 bytes.
        """
        page_bits = page_size.bit_length() - 1
        bits = user_bits if self.split_tables else user_bits + 1
        return -(-(bits - page_bits) // (page_bits - 3))


X86_64 = Architecture(
    name="x86_64",
    machine="x86_64",
    source="x86",
    image="bzImage",
    triplet="x86_64-linux-gnu",
    packages="",
    fragments=("fragments/base.config",),
    required=(),
    qemu="qemu-system-x86_64",
    machines=((1024, "q35,hpet=on"),),
    kvm_machine="",
    # `-hypervisor`: with that CPUID bit and no paravirtual spinlock, x86 takes a test-and-set lock
    # instead of the queued one (arch/x86/include/asm/qspinlock.h, virt_spin_lock), unlike bare
    # metal. The probe guest has the same model, since KVM may refuse this very setting.
    # `-la57`: 7.2 and 7.3 use page tables of five levels wherever the CPU has them, 6.12 without
    # X86_5LEVEL does not, and a level more is a walk that costs more.
    cpu_model="max,-hypervisor,-la57",
    kvm_cpu_model="",
    console="ttyS0",
    report="/dev/ttyS1",
    report_options=("-serial", "chardev:report"),
    # `tsc=reliable`: no clock watchdog, which on a busy host takes a vCPU that waits for its core
    # for an unstable clock. `no_timer_check`: nor the panic over a timer interrupt that came late.
    boot_parameters=("tsc=reliable", "no_timer_check"),
    command_line_bytes=2047,
    page_sizes=(4096,),
    vmalloc=(0xFFFFC90000000000, 0xFFFFE8FFFFFFFFFF),  # four levels; one byte below the next area
    split_tables=False,
    kvm_flags=("vmx", "svm"),
    probe=Probe(
        # mov al, 0x10; out 0xf4, al; hlt; jmp back to hlt: at the reset vector, 16 bytes below
        # 4 GiB; isa-debug-exit makes 0x10 << 1 | 1 of it.
        bytes.fromhex("b010 e6f4 f4 ebfd"),
        -16,
        65536,
        33,
        ("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"),
    ),
    exact_address="RIP: 0010:",
    five_levels_flag="la57",
    cpu_lines=("model name",),
    stepping_lines=("stepping",),
)

ARM64 = Architecture(
    name="arm64",
    machine="aarch64",
    source="arm64",
    image="Image",
    triplet="aarch64-linux-gnu",
    packages="arm64",
    fragments=("fragments/base.config", "fragments/arm64.config", "fragments/arm64-4k.config"),
    required=("fragments/arm64.config",),
    qemu="qemu-system-aarch64",
    # GICv3 for any number of CPUs: GICv2 supports 8, and a sweep in which the interrupt controller
    # changed there would show that change. Under KVM a guest can have the host's only.
    machines=((512, "virt,gic-version=3"),),
    kvm_machine="virt,gic-version=host",
    # A server's core: LSE atomics, no pointer authentication, which costs TCG most of its time.
    cpu_model="neoverse-n1",
    kvm_cpu_model="host",
    console="ttyAMA0",
    report="/dev/ttyAMA1",
    report_options=("-serial", "chardev:report"),
    boot_parameters=(),
    command_line_bytes=2047,
    page_sizes=(4096, 16384, 65536),
    vmalloc=(0xFFFF800080000000, 0xFFFFFDFFBFFF0000),  # 48 bits; the end differs by release
    split_tables=True,
    # mov w0, 0x84000008; hvc 0; branch to itself: PSCI's SYSTEM_OFF, which ends QEMU with 0.
    probe=Probe(bytes.fromhex("00018052 0080b072 020000d4 00000014"), 0, 65536, 0),
    cpu_lines=("CPU implementer", "CPU part"),
    stepping_lines=("CPU variant", "CPU revision"),
    # Those of servers; util-linux has them all (sys-utils/lscpu-arm.c).
    cpu_names={
        "0x41 0xd08": "Cortex-A72",
        "0x41 0xd0c": "Neoverse-N1",
        "0x41 0xd40": "Neoverse-V1",
        "0x41 0xd49": "Neoverse-N2",
        "0x41 0xd4f": "Neoverse-V2",
        "0x43 0x0a1": "ThunderX",
        "0x43 0x0af": "ThunderX2",
        "0x48 0xd01": "Kunpeng-920",
        "0xc0 0xac3": "Ampere-1",
        "0xc0 0xac4": "Ampere-1a",
    },
    lab_fragments=("fragments/lab.config", "fragments/lab-arm64.config"),
    network_drivers=("ena", "mlx5_core"),
)

RISCV = Architecture(
    name="riscv",
    machine="riscv64",
    source="riscv",
    image="Image",
    triplet="riscv64-linux-gnu",
    packages="riscv",
    fragments=("fragments/base.config", "fragments/riscv.config"),
    required=("fragments/riscv.config",),
    qemu="qemu-system-riscv64",
    machines=((512, "virt"),),
    kvm_machine="",
    cpu_model="rv64,sv57=off",  # page tables of four levels, as guests of the others have
    kvm_cpu_model="host",
    console="ttyS0",
    report="/dev/ttyS1",  # the machine has one port of its own
    report_options=("-device", "pci-serial,chardev=report"),
    boot_parameters=(),
    command_line_bytes=1023,
    page_sizes=(4096,),
    vmalloc=(0xFFFF8F8000000000, 0xFFFFAF7FFFFFFFFF),
    split_tables=False,
    # lui t0, 0x100; lui t1, 5; addiw t1, t1, 0x555; sw t1, (t0); branch to itself: the machine's
    # test device ends QEMU with 0 for 0x5555.
    probe=Probe(bytes.fromhex("b7021000 37530000 1b035355 23a06200 6f000000"), 0, 65536, 0),
    cpu_lines=("uarch",),
)

PAGE_SIZE = X86_64.page_sizes[0]
"""In bytes, where a kernel says nothing else."""

ARCHITECTURES = {record.name: record for record in (X86_64, ARM64, RISCV)}


def by_machine(machine: str) -> Architecture | None:
    """Return the architecture that `uname -m` calls `machine`, None if unknown."""
    return next((one for one in ARCHITECTURES.values() if one.machine == machine), None)


def architecture(name: str) -> Architecture:
    """Return the architecture of that name. Raises InputError with the known ones."""
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {name!r}: expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
