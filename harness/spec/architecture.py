"""What is known of each architecture that kernels are built for: one record each, in one table.

A further architecture is one more record here and one fragment in kernels/fragments: what is built,
the command line of a guest, its init and its checks follow from these. Pure.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import InputError


@dataclass(frozen=True)
class Probe:
    """A firmware image of a few instructions that ends QEMU: whether an accelerator runs at all.

    `code` stands `offset` bytes into the image of `size` bytes, from its end where negative; it
    ends QEMU with `status`. `options`: further ones of QEMU.
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
    """One architecture. Names of devices are those that the guest's kernel gives them.

    `machines`: for up to so many CPUs, that machine of QEMU. `split_tables`: the kernel's half of
    the address space has page tables of its own, so no bit of an address tells the halves apart.
    """

    name: str  # in kernel files, as kbuild (ARCH=) and tuxmake have it
    machine: str  # what uname -m says
    source: str  # folder below arch/ of the kernel's source
    image: str  # what boots, below arch/SOURCE/boot
    triplet: str  # of the cross toolchain: TRIPLET-gcc
    packages: str  # group of setup/packages.txt; empty: nothing beyond `all`
    fragments: tuple[str, ...]  # of a guest's kernel, unless its file says otherwise
    required: tuple[str, ...]  # those without which no guest boots, whatever its configuration
    qemu: str
    machines: tuple[tuple[int, str], ...]
    kvm_machine: str  # under KVM, where the host decides what is possible; empty: the same
    cpu_model: str
    kvm_cpu_model: str  # empty: the same
    console: str
    report: str  # the device to which init reports
    report_options: tuple[str, ...]  # what connects it to the character device `report`
    boot_parameters: tuple[str, ...]
    command_line_bytes: int  # COMMAND_LINE_SIZE, less the NUL
    page_sizes: tuple[int, ...]  # bytes; the first is the one of a kernel that says none
    vmalloc: tuple[int, int]  # of a kernel with the first page size and no KASLR
    split_tables: bool
    kvm_flags: tuple[str, ...] = ()  # in /proc/cpuinfo: the CPU has virtualisation of its own
    probe: Probe | None = None  # None: nothing tells before a kernel boots
    exact_address: str = "pc : "  # in an oops, before the instruction itself
    five_levels_flag: str = ""  # in /proc/cpuinfo: page tables of five levels are in use
    cpu_lines: tuple[str, ...] = ()  # of /proc/cpuinfo, that together say which CPU it is
    stepping_lines: tuple[str, ...] = ()
    cpu_names: Mapping[str, str] = field(default_factory=dict)  # by what `cpu_lines` say
    lab_fragments: tuple[str, ...] = ("fragments/lab.config",)  # of a lab host's kernel, on top
    network_drivers: tuple[str, ...] = ()  # of lab hosts' kernels, beyond lab.config's

    @property
    def image_path(self) -> str:
        """Where kbuild leaves the kernel's image."""
        return f"arch/{self.source}/boot/{self.image}"

    @property
    def most_cpus(self) -> int:
        """The most CPUs that a guest of QEMU's largest machine type may have."""
        return self.machines[-1][0]

    def is_native(self, host: str | None = None) -> bool:
        """Return whether `host` (by default this machine), as uname -m has it, runs its programs.

        Only there its guests can have KVM and its compiler is plain gcc.
        """
        return (host or os.uname().machine) == self.machine

    def cross_prefix(self, host: str | None = None) -> str:
        """Return what stands before the names of its compiler and binutils on `host`."""
        return "" if self.is_native(host) else f"{self.triplet}-"

    def how_to_install(self) -> str:
        """Return the command that installs its compiler and QEMU."""
        return f"setup/install.sh {self.packages}".strip()

    def machine_for(self, cpus: int, accelerator: str) -> str:
        """Return QEMU's machine for so many CPUs. Raises InputError for too many."""
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
        """Return how many levels the page tables have, where programs have so many address bits.

        A table fills one page with entries of 8 bytes.
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
    # `-hypervisor`: with that CPUID bit and no paravirtual spinlock x86 takes a test-and-set lock
    # instead of the queued one (arch/x86/include/asm/qspinlock.h, virt_spin_lock), which is not
    # what metal does. The probe guest has the same model, since KVM may refuse just that.
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
    # GICv3 for every number of CPUs: GICv2 ends at 8, and a sweep that changed its interrupt
    # controller there would show that and not the kernel. Under KVM a guest can have the host's.
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
    """Return the record of what `uname -m` calls `machine`, None where there is none."""
    return next((one for one in ARCHITECTURES.values() if one.machine == machine), None)


def architecture(name: str) -> Architecture:
    """Return the record of that name. Raises InputError with the names there are."""
    if name not in ARCHITECTURES:
        raise InputError(f"architecture {name!r}: known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
