"""Finds the source lines of a kernel's stack traces in vmlinux's debug information.

A trace has functions and offsets (`vfree+0x12/0x40`), so that neither a kernel's random base nor a
module's address matters. binutils' addr2line reads the line tables, including inlined calls.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.build.kernel import BuiltKernel
from harness.build.sandbox import SandboxPaths, contained_argv
from harness.process import Runner
from harness.spec.architecture import ARCHITECTURES

_EXACT = "|".join({re.escape(arch.exact_address) for arch in ARCHITECTURES.values()})
_ENTRY = re.compile(
    rf"(?P<exact>{_EXACT})?"
    r"\b(?P<text>(?P<name>[A-Za-z_][\w.]{0,127})"
    r"\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8}))(?P<module> \[test_vmalloc\b)?"
)
_MOST = 200  # entries looked up, since a log may have any number of traces


@dataclass(frozen=True)
class _Entry:
    text: str  # as printed: vfree+0x12/0x40
    name: str
    offset: int
    size: int
    exact: bool  # the instruction itself (RIP, pc), not the one after a call
    in_module: bool


def locate_stack(logs: Iterable[str], kernel: BuiltKernel, runner: Runner) -> dict[str, str]:
    """Return `function+offset/size` -> `mm/vmalloc.c:2345` for the stack entries in `logs`.

    An inlined call is `mm/vmalloc.c:120 in mm/vmalloc.c:2345`. Empty without debug information
    (fragments/debug-info.config); entries that are not found are left out.
    """
    entries = list({entry.text: entry for log in logs for entry in _parse(log)}.values())[:_MOST]
    places: dict[str, str] = {}
    for file, in_module in ((kernel.vmlinux, False), (kernel.module, True)):
        ours = [entry for entry in entries if entry.in_module is in_module]
        if not ours or not file.is_file():
            continue
        for section, addresses in _addresses(file, ours).items():
            places |= _lines(file, section, addresses, runner, kernel)
    return places


def annotate_stack(log: str, places: Mapping[str, str]) -> str:
    """Return `log` with the source line after each entry in `places`."""

    def place(match: re.Match[str]) -> str:
        found = places.get(match["text"])
        return f"{match[0]} ({found})" if found else match[0]

    return _ENTRY.sub(place, log) if places else log


def functions_in(log: str) -> set[str]:
    """Return the names of the functions in the stack traces of `log`."""
    return {entry.name for entry in _parse(log)}


def _parse(log: str) -> Iterable[_Entry]:
    for match in _ENTRY.finditer(log):
        yield _Entry(
            match["text"],
            match["name"],
            int(match["offset"], 16),
            int(match["size"], 16),
            match["exact"] is not None,
            match["module"] is not None,
        )


def _addresses(file: Path, entries: Iterable[_Entry]) -> Mapping[str | None, dict[str, int]]:
    """Return section -> entry -> address; a module's addresses are relative to a section."""
    found: dict[str | None, dict[str, int]] = defaultdict(dict)
    try:
        with file.open("rb") as stream:
            elf = ELFFile(stream)
            symbols = elf.get_section_by_name(".symtab")
            if not isinstance(symbols, SymbolTableSection) or not elf.has_dwarf_info(True):
                return found
            for entry in entries:
                named = symbols.get_symbol_by_name(entry.name) or []
                # Static functions may share a name; the printed size distinguishes most.
                sized = [one for one in named if one["st_size"] == entry.size] or named
                if len(sized) != 1:
                    continue
                index = sized[0]["st_shndx"]
                relative = elf["e_type"] == "ET_REL" and isinstance(index, int)
                section = elf.get_section(index).name if relative else None
                back = 0 if entry.exact else 1  # a return address may belong to the next line
                found[section][entry.text] = sized[0]["st_value"] + entry.offset - back
    except (OSError, ELFError):
        return {}
    return found


def _lines(
    file: Path,
    section: str | None,
    addresses: Mapping[str, int],
    runner: Runner,
    kernel: BuiltKernel,
) -> dict[str, str]:
    argv = [f"{kernel.spec.arch.cross_prefix()}addr2line", "-a", "-i", "-e", str(file)]
    argv += [f"--section={section}"] if section else []
    argv += map(hex, addresses.values())
    if kernel.contained:
        argv = contained_argv(argv, SandboxPaths(readable=(file,)), runner)
    done = runner.run(argv, deadline_s=60)
    if done.returncode:
        return {}
    chains: list[list[str]] = []
    for line in done.output.splitlines():
        if line.startswith("0x"):
            chains.append([])
        elif chains and not line.startswith("??"):
            chains[-1].append(_in_tree(line))
    return {
        text: " in ".join(chain) for text, chain in zip(addresses, chains, strict=False) if chain
    }


def _in_tree(place: str) -> str:
    """Return `/…/tree/objects/../mm/vmalloc.c:12 (discriminator 3)` as `mm/vmalloc.c:12`."""
    path, _, line = place.partition(" ")[0].rpartition(":")
    inside = os.path.normpath(path).rpartition("/tree/")[2]
    return f"{inside}:{line}"
