"""Kernel configurations: the symbols of a `.config`, and those that affect a measurement."""

import re
from collections.abc import Collection, Mapping

from harness.spec.architecture import Architecture

CRITICAL = (
    # the slab allocator serves every vmap area
    *("SLUB_TINY", "SLUB_CPU_PARTIAL", "SLUB_DEBUG", "SLUB_DEBUG_ON", "SLAB_FREELIST_HARDENED"),
    *("SLAB_FREELIST_RANDOM", "RANDOM_KMALLOC_CACHES", "MEMCG", "BASE_SMALL"),
    # how the code is compiled and protected
    *("CC_OPTIMIZE_FOR_PERFORMANCE", "CC_OPTIMIZE_FOR_SIZE", "LTO_NONE", "LTO_CLANG_FULL"),
    *("LTO_CLANG_THIN", "CC_IS_GCC", "CC_IS_CLANG", "JUMP_LABEL", "CPU_MITIGATIONS"),
    *("MITIGATION_RETPOLINE", "STACKPROTECTOR_STRONG", "HARDENED_USERCOPY"),
    *("FORTIFY_SOURCE", "UBSAN", "GCOV_KERNEL", "KCOV", "UNWINDER_FRAME_POINTER"),
    # scheduling, timers and locks
    *("PREEMPT_NONE", "PREEMPT_VOLUNTARY", "PREEMPT", "PREEMPT_LAZY", "PREEMPT_RT"),
    *("PREEMPT_DYNAMIC", "DEBUG_PREEMPT", "HZ", "NO_HZ_FULL", "SMP", "NR_CPUS", "NUMA"),
    *("NUMA_BALANCING", "PARAVIRT", "PARAVIRT_SPINLOCKS", "QUEUED_SPINLOCKS"),
    *("DEBUG_SPINLOCK", "DEBUG_MUTEXES", "DEBUG_RT_MUTEXES", "DEBUG_LOCK_ALLOC", "LOCK_STAT"),
    *("LOCKDEP", "PROVE_LOCKING", "DEBUG_ATOMIC_SLEEP", "PROVE_RCU", "RCU_EXPERT"),
    # pages, page tables and what watches them
    *("TRANSPARENT_HUGEPAGE", "SPARSEMEM_VMEMMAP", "DEBUG_VM", "DEBUG_PAGEALLOC", "PAGE_OWNER"),
    "MEM_ALLOC_PROFILING",
    *("PAGE_POISONING", "PAGE_TABLE_CHECK", "INIT_ON_ALLOC_DEFAULT_ON", "INIT_ON_FREE_DEFAULT_ON"),
    *("KASAN", "KASAN_VMALLOC", "KMSAN", "KCSAN", "KFENCE", "DEBUG_KMEMLEAK", "DEBUG_OBJECTS"),
    *("MITIGATION_PAGE_TABLE_ISOLATION", "X86_5LEVEL", "VMAP_STACK"),
    *("ARM64_16K_PAGES", "ARM64_64K_PAGES", "ARM64_VA_BITS_52"),
    # tracing
    *("TRACEPOINTS", "FUNCTION_TRACER", "IRQSOFF_TRACER", "PREEMPT_TRACER"),
)
"""The critical symbols, which affect what test_vmalloc measures. Kernels that differ in one are not
compared unless the playbook allows it by name."""

_FORMER = {
    "CPU_MITIGATIONS": "SPECULATION_MITIGATIONS",  # renamed in 6.9
    "MITIGATION_RETPOLINE": "RETPOLINE",  # renamed in 6.9
    "MITIGATION_PAGE_TABLE_ISOLATION": "PAGE_TABLE_ISOLATION",  # renamed in 6.9
}

_SET = re.compile(r"^CONFIG_(?P<name>\w+)=(?P<value>.*)\Z")
_UNSET = re.compile(r"^# CONFIG_(?P<name>\w+) is not set\Z")


def parse_config(text: str) -> dict[str, str]:
    """Return the values as written, by symbol (without `CONFIG_`); an unset symbol is "n"."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        if found := _SET.match(line.strip()):
            values[found["name"]] = found["value"].strip()
        elif found := _UNSET.match(line.strip()):
            values[found["name"]] = "n"
    return values


def critical_values(
    config: Mapping[str, str], declared: Collection[str], renamed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the values of the critical symbols.

    A symbol that is off is "n". One of which no name, current or former, is `declared` by the
    kernel's Kconfig is "absent". `renamed`: new name by former name, from Kconfig.
    """
    values = {}
    for name in CRITICAL:
        names = (name, _FORMER.get(name, name), (renamed or {}).get(name, name))
        known = next((n for n in names if n in declared), None)
        values[name] = config.get(known, "n") if known else "absent"
    if values["BASE_SMALL"] == "0":  # a number until 6.10, a bool since
        values["BASE_SMALL"] = "n"
    return values


def page_size(config: Mapping[str, str], arch: Architecture) -> int:
    """Return the page size (bytes) of a configuration, by default the usual one of `arch`.

    Before Linux 6.9 only architectures with a choice had a symbol for it.
    """
    shift = config.get("PAGE_SHIFT") or config.get(f"{arch.name.upper()}_PAGE_SHIFT", "")
    sizes = {str(size.bit_length() - 1): size for size in arch.page_sizes}
    return sizes.get(shift, arch.page_sizes[0])


def critical_differences(kernels: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return the critical symbols in which `kernels` differ: values by symbol and kernel.

    `kernels`: results of `critical_values` by kernel name. Off and absent are not different.
    """
    symbols = dict.fromkeys(symbol for critical in kernels.values() for symbol in critical)
    rows = {
        symbol: {name: critical.get(symbol, "absent") for name, critical in kernels.items()}
        for symbol in symbols
    }
    return {
        symbol: row
        for symbol, row in rows.items()
        if len({"n" if value == "absent" else value for value in row.values()}) > 1
    }
