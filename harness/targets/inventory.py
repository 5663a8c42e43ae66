"""Parses the inventory of a machine from files of /proc and /sys. Pure.

Used for the local machine and for lab hosts, which only differ in how the files are read.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.spec.architecture import ARCHITECTURES, X86_64

DMI = "/sys/class/dmi/id"
CPUS = "/sys/devices/system/cpu"
VULNERABILITIES = f"{CPUS}/vulnerabilities"
# Shell patterns of the files to read; missing files count as empty.
FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/kernel/osrelease",
    *(f"{DMI}/{name}" for name in ("board_vendor", "board_name", "product_name")),
    *(f"{DMI}/{name}" for name in ("bios_vendor", "bios_version", "bios_date")),
    "/sys/devices/system/node/online",
    *(f"{CPUS}/cpu[0-9]*/topology/{name}" for name in ("physical_package_id", "core_id")),
    f"{VULNERABILITIES}/*",
    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver",
    "/sys/devices/system/cpu/cpuidle/current_driver",
)


@dataclass(frozen=True)
class Inventory:
    """Hardware and kernel of a machine. `mitigations`: vulnerability -> the kernel's status text.

    `memory_mib`: MemTotal, which is a little less than the installed memory.
    """

    cpu: str
    stepping: str
    microcode: str
    sockets: int
    physical_cores: int
    cpus: int  # that are online
    numa_nodes: int
    paging_levels: str  # of the kernel's page tables; empty if unknown
    memory_mib: int
    board: str
    bios: str
    kernel: str
    frequency_driver: str
    idle_driver: str
    mitigations: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Return all fields, with `id` (their digest) and `hardware` (digest of `conditions`)."""
        facts = asdict(self) | {"mitigations": dict(self.mitigations)}
        return {**facts, "id": _digest(facts), "hardware": _digest(self.conditions())}

    def conditions(self) -> dict[str, str]:
        """Return the facts that must be equal for times to be comparable.

        The kernel is not part of them, as it is what is compared. Of a mitigation they have only
        whether it is active, as the kernel's text on it changes between releases.
        """
        names = ("cpu", "stepping", "microcode", "sockets", "physical_cores", "cpus", "numa_nodes")
        kept = {name: str(getattr(self, name)) for name in (*names, "board", "bios")}
        kept["memory_gib"] = str(round(self.memory_mib / 1024))  # kernels reserve different amounts
        kept["frequency_driver"] = self.frequency_driver
        for name, said in self.mitigations.items():
            kept[f"mitigation of {name}"] = re.split(r"[:;]", said)[0].strip()
        return kept


def parse_inventory(texts: Mapping[str, str]) -> Inventory:
    """Return the inventory from `texts` (path -> content, of `FILES`). Never raises."""
    read = {path: text.strip() for path, text in texts.items()}

    def of(path: str) -> str:
        return read.get(path, "")

    cpuinfo = of("/proc/cpuinfo")
    packages, cores = _topology(read, cpuinfo)
    cpus = len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE))
    memory = re.search(r"^MemTotal:\s*(\d{1,15}) kB", of("/proc/meminfo"), re.MULTILINE)
    board = (of(f"{DMI}/board_vendor"), of(f"{DMI}/board_name") or of(f"{DMI}/product_name"))
    bios = (of(f"{DMI}/{name}") for name in ("bios_vendor", "bios_version", "bios_date"))
    cpu, stepping = _model(cpuinfo)
    return Inventory(
        cpu=cpu,
        stepping=stepping,
        microcode=_field(cpuinfo, "microcode"),
        sockets=len(set(packages)) or 1,
        physical_cores=len(set(zip(packages, cores, strict=False))) or cpus,
        cpus=cpus,
        numa_nodes=len(parse_cpu_list(of("/sys/devices/system/node/online"))) or 1,
        paging_levels=_paging_levels(_field(cpuinfo, "flags").split()),
        memory_mib=int(memory[1]) >> 10 if memory else 0,
        board=" ".join(filter(None, board)),
        bios=" ".join(filter(None, bios)),
        kernel=of("/proc/sys/kernel/osrelease"),
        frequency_driver=of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"),
        idle_driver=of("/sys/devices/system/cpu/cpuidle/current_driver"),
        mitigations={
            path.rpartition("/")[2]: text
            for path, text in sorted(read.items())
            if path.startswith(VULNERABILITIES)
        },
    )


def parse_cpu_list(text: str) -> list[int]:
    """Return the numbers in a list like `0-3,8` of the kernel; empty if it is not such a list."""
    found: list[int] = []
    for part in text.strip().split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip())
        if match:
            found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return found


def describe_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line "name: old -> new" for each fact in which two inventories differ.

    Facts that only one of them has, due to another version of harness or kernel, are ignored.
    """
    lines = []
    for name in sorted(set(before) & set(now) - {"id", "hardware"}):
        if isinstance(before[name], Mapping) and isinstance(now[name], Mapping):
            inner = describe_change(before[name], now[name])
            lines += [f"{name}: {line}" for line in inner]
        elif before[name] != now[name]:
            lines.append(f"{name}: {before[name] or 'none'} -> {now[name] or 'none'}")
    return lines


def _paging_levels(flags: list[str]) -> str:
    """Return the page table levels of x86-64: 5 with the flag `la57`, which the kernel hides if
    it does not use it.
    """
    if "lm" not in flags:
        return ""
    return "5" if X86_64.five_levels_flag in flags else "4"


def _model(cpuinfo: str) -> tuple[str, str]:
    """Return the CPU's model and stepping, empty if /proc/cpuinfo does not have them."""
    for arch in ARCHITECTURES.values():
        values = [_field(cpuinfo, line) for line in arch.cpu_lines]
        if values and all(values):
            cpu = " ".join(values)
            stepping = " ".join(_field(cpuinfo, line) for line in arch.stepping_lines).strip()
            return arch.cpu_names.get(cpu, cpu), stepping
    return "", ""


def _topology(read: Mapping[str, str], cpuinfo: str) -> tuple[list[str], list[str]]:
    """Return the package ids and core ids of all CPUs, from /proc/cpuinfo or else from /sys."""
    packages = re.findall(r"^physical id\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    cores = re.findall(r"^core id\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    if packages:
        return packages, cores
    name = "/topology/physical_package_id"
    folders = [path.removesuffix(name) for path in read if path.endswith(name)]
    return (
        [read[f"{folder}{name}"] for folder in folders],
        [read.get(f"{folder}/topology/core_id", "") for folder in folders],
    )


def _field(text: str, name: str) -> str:
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
