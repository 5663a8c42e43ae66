"""The functions of a kernel that come from one source file, found by its symbol table."""

import functools
from bisect import bisect_left
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.errors import InfrastructureError


@functools.cache  # several checks boot one kernel, and reading its table takes seconds
def functions_of(vmlinux: Path, source: str) -> frozenset[str]:
    """Return the names of the functions in `vmlinux` that come from `source`, such as `vmalloc.c`.

    The table names a file before its static functions, but not for global ones. These are included
    if the static function before or after them in memory is from the file, so that some of a
    neighbouring file may be included, but none is missing. Raises InfrastructureError if `vmlinux`
    has no symbol table.
    """
    try:
        with vmlinux.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".symtab")
            if not isinstance(table, SymbolTableSection):
                raise InfrastructureError(f"{vmlinux}: it has no symbol table")
            return _functions(table, source)
    except (ELFError, OSError, UnicodeDecodeError) as error:
        raise InfrastructureError(f"reading {vmlinux}: {error}") from error


def _functions(table: SymbolTableSection, source: str) -> frozenset[str]:
    static: dict[int, bool] = {}  # address -> whether of `source`
    ours: set[str] = set()
    functions: dict[str, int] = {}
    inside = False
    for symbol in table.iter_symbols():
        kind, address = symbol["st_info"]["type"], symbol["st_value"]
        if kind == "STT_FILE":
            inside = symbol.name == source
        elif kind == "STT_FUNC" and symbol["st_info"]["bind"] == "STB_LOCAL":
            static[address] = inside
            ours |= {symbol.name} if inside else set()
        elif kind == "STT_FUNC":
            functions[symbol.name] = address
    known = sorted(static)
    for name, address in functions.items():
        place = bisect_left(known, address)
        beside = known[max(0, place - 1) : place + 1]
        if any(static[each] for each in beside):
            ours.add(name)
    return frozenset(ours)
