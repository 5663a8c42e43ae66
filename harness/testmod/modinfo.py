"""Reads what a test_vmalloc.ko says of itself: its parameters and its cases.

Never a list in this code: newer kernels have more cases and more parameters.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile

from harness.errors import InputError


@dataclass(frozen=True)
class Parameter:
    """One `module_param`. `type`: the kernel's name of it (int, bool, uint, charp ...)."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class ModuleInfo:
    """The .modinfo section of a module. `cases`: log name -> bit of run_test_mask, in bit order."""

    name: str
    vermagic: str
    parameters: Mapping[str, Parameter]
    cases: Mapping[str, int]


_MODINFO_BYTES = 1 << 20  # that of test_vmalloc has 2 KB
_SECTIONS = 0xFF00  # SHN_LORESERVE: more need an extension of the format
# "id: 16,   name: fix_align_alloc_test" in the description of run_test_mask
_CASE = re.compile(r"id:\s*(\d{1,10}),\s*name:\s*(\w+)")


def parse_modinfo(data: bytes) -> ModuleInfo:
    """Return what the module in `data` (the bytes of a .ko) says of itself.

    Raises InputError where it is no ELF file or has no .modinfo section.
    """
    try:
        text = _modinfo_bytes(ELFFile(io.BytesIO(data))).decode(errors="replace")
    except Exception as error:  # damaged bytes make pyelftools raise errors of many kinds
        raise InputError(f"not a kernel module: {error}") from error
    if not text:
        raise InputError("not a kernel module: it has no .modinfo section")
    return parse_modinfo_text(text)


def _modinfo_bytes(elf: ELFFile) -> bytes:
    """Return the section's bytes; b"" without one. Raises ValueError where no kernel has such."""
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
    """Return the NUL-separated `key=value` entries of a .modinfo section as a ModuleInfo."""
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
    cases = _CASE.findall(descriptions.get("run_test_mask", ""))
    return ModuleInfo(
        name=single.get("name", ""),
        vermagic=single.get("vermagic", "").strip(),
        parameters=parameters,
        cases=dict(sorted(((name, int(bit)) for bit, name in cases), key=lambda case: case[1])),
    )
