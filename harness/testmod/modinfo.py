"""Reads parameters, their defaults and cases from a built module.

There is no fixed list of them, as newer kernels have more cases and parameters.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.errors import InputError


@dataclass(frozen=True)
class Parameter:
    """A parameter of a module. `type`: as in `module_param` (int, bool, uint, charp ...)."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class ModuleInfo:
    """Parameters and cases of a module. `cases`: name -> bit of run_test_mask, in bit order.

    `defaults`: initial values of int and bool parameters, if the file has a symbol table.
    """

    name: str
    parameters: Mapping[str, Parameter]
    cases: Mapping[str, int]
    defaults: Mapping[str, int] = field(default_factory=dict)


_MODINFO_BYTES = 1 << 20  # that of test_vmalloc has 2 KB
_DATA_BYTES = 1 << 20  # its .data has a few hundred bytes
_SIZES = {"int": 4, "uint": 4, "bool": 1}  # in bytes
_SECTIONS = 0xFF00  # SHN_LORESERVE; more need an extension of the format
# "id: 16,   name: fix_align_alloc_test" in the description of run_test_mask
_CASE = re.compile(r"id:\s*(\d{1,10}),\s*name:\s*(\w+)")


def parse_modinfo(data: bytes) -> ModuleInfo:
    """Return parameters and cases of the module in `data` (the bytes of a .ko file).

    Raises InputError if it is not an ELF file or has no .modinfo section.
    """
    try:
        elf = ELFFile(io.BytesIO(data))
        text = _modinfo_bytes(elf).decode(errors="replace")
    except Exception as error:  # pyelftools raises many types of exceptions for damaged files
        raise InputError(f"not a kernel module: {error}") from error
    if not text:
        raise InputError("not a kernel module: it has no .modinfo section")
    info = parse_modinfo_text(text)
    return replace(info, defaults=_defaults(elf, info.parameters))


def _defaults(elf: ELFFile, parameters: Mapping[str, Parameter]) -> dict[str, int]:
    """Return the initial values of the variables of `parameters`; {} without a symbol table.

    The variable of `module_param(name, ...)` has the parameter's name.
    """
    symbols = elf.get_section_by_name(".symtab")
    if not isinstance(symbols, SymbolTableSection):
        return {}
    found = {}
    for name, parameter in parameters.items():
        size = _SIZES.get(parameter.type)
        for symbol in symbols.get_symbol_by_name(name) or []:
            if size is None or symbol["st_size"] != size:
                continue
            value = _initial_value(elf, symbol["st_shndx"], symbol["st_value"], size)
            if value is not None:
                found[name] = value
    return found


def _initial_value(elf: ELFFile, index: object, offset: int, size: int) -> int | None:
    """Return the number of `size` bytes at `offset` in section `index`, None if out of range."""
    if not isinstance(index, int) or index >= elf.num_sections():
        return None
    section = elf.get_section(index)
    if section["sh_type"] == "SHT_NOBITS":
        return 0  # .bss
    if section["sh_type"] != "SHT_PROGBITS" or section["sh_size"] > _DATA_BYTES:
        return None
    raw = section.data()[offset : offset + size]
    order: Literal["little", "big"] = "little" if elf.little_endian else "big"
    return int.from_bytes(raw, order, signed=True) if len(raw) == size else None


def _modinfo_bytes(elf: ELFFile) -> bytes:
    """Return the bytes of .modinfo, b"" if it is missing. Raises ValueError if it is invalid."""
    if elf.num_sections() > _SECTIONS:
        raise ValueError(f"it has {elf.num_sections():,} sections, at most {_SECTIONS:,} are read")
    section = elf.get_section_by_name(".modinfo")
    if section is None:
        return b""
    if section.compressed or section["sh_type"] != "SHT_PROGBITS":
        raise ValueError("its .modinfo is compressed or has no bytes in the file")
    size = int(section["sh_size"])
    if size > _MODINFO_BYTES:
        raise ValueError(f"its .modinfo has {size:,} bytes, at most {_MODINFO_BYTES:,} are read")
    return bytes(section.data())


def parse_modinfo_text(text: str) -> ModuleInfo:
    """Return parameters and cases from the content of .modinfo, NUL-separated `key=value`."""
    single: dict[str, str] = {}
    types: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    for entry in filter(None, text.split("\0")):
        key, _, value = entry.partition("=")
        if key in ("parm", "parmtype"):
            name, _, rest = value.partition(":")
            (types if key == "parmtype" else descriptions)[name] = rest
        else:
            single.setdefault(key, value)
    parameters = {
        name: Parameter(name, types.get(name, ""), descriptions.get(name, "").strip())
        for name in sorted({**types, **descriptions})
    }
    return ModuleInfo(
        name=single.get("name", ""),
        parameters=parameters,
        cases=parse_cases(descriptions.get("run_test_mask", "")),
    )


def parse_cases(description: str) -> dict[str, int]:
    """Return the cases in the description of run_test_mask: name -> bit, in bit order."""
    cases = ((name, int(bit)) for bit, name in _CASE.findall(description))
    return dict(sorted(cases, key=lambda case: case[1]))
