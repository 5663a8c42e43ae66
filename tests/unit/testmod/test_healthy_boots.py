# ruff: noqa: E501  lines of logs
"""Healthy boots give no finding above a note, whatever they print.

The excerpts are made up: lines that speak of bugs, warnings, errors, panics or crashes as laptops,
servers and boards print them while all is well, written from memory, one text an architecture. They
show that such words alone raise nothing; they are no logs of real machines. Public logs, which are
not kept here, were scanned as well (the commits that changed the catalogue say which): what they
raised beyond real reports became tests of the scan.
"""

import pytest

from harness.testmod.catalogue import Severity
from harness.testmod.verdicts import scan_console

X86 = r"""
Linux version {release} (builder@host) (gcc 14.2.0, GNU ld 2.44) #1 SMP PREEMPT_DYNAMIC
Command line: root=/dev/sda2 ro panic=-1 oops=panic panic_on_warn=0 crashkernel=256M quiet
[Firmware Bug]: TSC doesn't count with P0 frequency!
x86/split lock detection: #AC: crashing the kernel on kernel split_locks and warning on user-space split_locks
Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!
RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!
MDS: Vulnerable: Clear CPU buffers attempted, no microcode
ACPI BIOS Error (bug): Could not resolve symbol [\_SB.PC00.I2C1.TPD0], AE_NOT_FOUND (20240827/dswload2-162)
ACPI Error: AE_NOT_FOUND, During name lookup/catalog (20240827/psobject-220)
ACPI Warning: SystemIO range 0x0000000000000428-0x000000000000042F conflicts with OpRegion 0x0000000000000400 (\PMIO)
DMAR: [Firmware Bug]: No firmware reserved region can cover this RMRR, contact BIOS vendor for fixes
[Firmware Warn]: HEST: Duplicated hardware error source ID: 4096.
GHES: APEI firmware first mode is enabled by APEI bit.
BERT: [Hardware Error]: Skipped 1 error records
ERST: Error Record Serialization Table (ERST) support is initialized.
RAS: Correctable Errors collector initialized.
NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.
perf: interrupt took too long (2510 > 2500), lowering kernel.perf_event_max_sample_rate to 79500
workqueue: delayed_fput hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND
clocksource: Watchdog remote CPU 3 read timed out
platform regulatory.0: Direct firmware load for regulatory.db failed with error -2
nvidia: module verification failed: signature and/or required key missing - tainting kernel
usb 1-3: device descriptor read/64, error -71
EXT4-fs (sda2): warning: mounting unchecked fs, running e2fsck is recommended
systemd[1]: Starting kdump-tools.service - Kernel crash dump capture service...
"""
ARM64 = r"""
Booting Linux on physical CPU 0x0000000000 [0x413fd0c1]
Linux version {release} (builder@host) (aarch64-linux-gnu-gcc 14.2.0) #1 SMP PREEMPT
KASLR disabled due to lack of seed
CPU features: detected: ARM erratum 1418040
[Firmware Bug]: Kernel image misaligned at boot, please fix your bootloader!
GICv3: GIC: Using split EOI/Deactivate mode
arm-smmu-v3 arm-smmu-v3.0.auto: option mask 0x0
OF: fdt: Reserved memory: failed to reserve memory for node 'framebuffer@9d400000'
dw-pcie 33800000.pcie: Phy link never came up
mmc0: error -110 whilst initialising SD card
rcu: 	RCU debug extended QS entry/exit.
kmemleak: Kernel memory leak detector initialized (mem pool available: 15679)
kasan: KernelAddressSanitizer initialized (generic)
kfence: initialized - using 2097152 bytes for 255 objects at 0x(____ptrval____)-0x(____ptrval____)
debug_vm_pgtable: [debug_vm_pgtable         ]: Validating architecture page table helpers
watchdog: Delayed init of the lockup detector failed: -19
"""
RISCV = r"""
Linux version {release} (builder@host) (riscv64-linux-gnu-gcc 14.2.0) #1 SMP
Machine model: StarFive VisionFive 2 v1.3B
SBI specification v2.0 detected
riscv: base ISA extensions acdfim
riscv: ELF capabilities acdfim
cpu0: Ratio of byte access time to unaligned word access is 7.06, unaligned accesses are fast
CPU with hartid=0 is not available
Falling back to deprecated "riscv,isa"
riscv-plic: interrupt-controller@c000000: mapped 136 interrupts with 4 handlers for 9 contexts.
SBI HSM extension detected
Kernel command line: console=ttyS0 panic=5 oops=panic
cma: Failed to reserve 64 MiB
clocksource: riscv_clocksource: mask: 0xffffffffffffffff max_cycles: 0x1d854df40
printk: legacy console [ttyS0] enabled
"""
PPC64LE = r"""
Linux version {release} (builder@host) (powerpc64le-linux-gnu-gcc 14.2.0) #1 SMP
random: crng init done
Reserving 512MB of memory at 512MB for crashkernel (System RAM: 65536MB)
rfi-flush: fallback displacement flush available
barrier-nospec: using ORI speculation barrier
stf-barrier: eieio barrier available
ftrace: allocating 43012 entries in 16 pages
EEH: pSeries platform initialized
EEH: No capable adapters found: recovery disabled.
PCI: Probing PCI hardware
pstore: Registered nvram as persistent store backend
rtas_flash: no firmware flash support
hv-24x7: read 1530 catalog entries, created 537 event attrs (0 failures), 275 descs
papr_scm ibm,persistent-memory:ibm,pmemory@44100001: Failed to query performance stats, Err:-5
"""
HEALTHY = {"x86": X86, "arm64": ARM64, "riscv64": RISCV, "ppc64le": PPC64LE}


def console(text, release):
    lines = text.strip().replace("{release}", release).splitlines()
    return "".join(f"[{n * 0.013:12.6f}] {line}\n" for n, line in enumerate(lines))


@pytest.mark.parametrize("release", ["6.1.0", "6.12.48", "6.18.2", "7.0.0", "7.2.0-rc3"])
@pytest.mark.parametrize("architecture", HEALTHY)
def test_a_healthy_boot_raises_nothing_above_a_note(architecture, release):
    found = scan_console(console(HEALTHY[architecture], release))
    assert [f for f in found if f.severity is not Severity.NOTE] == []


@pytest.mark.parametrize("architecture", HEALTHY)
def test_one_oops_among_those_lines_is_seen(architecture):
    text = console(HEALTHY[architecture] + "Internal error: Oops: 96000004 [#1] SMP\n", "7.0.0")
    found = scan_console(text)
    assert any(f.severity is Severity.CRASH for f in found)
