"""Finds the names of a kernel's functions and variables in its System.map. Pure."""

import bisect
import re
from dataclasses import dataclass

from harness.errors import InputError

# The first name with paravirtual locks, as in the published profile; the second without.
SLOW_PATHS = ("native_queued_spin_lock_slowpath", "queued_spin_lock_slowpath")
MODULE = "[module]"
USER = "[user]"
_KERNEL_START = 0xFFFF_8000_0000_0000
_SYMBOL = re.compile(r"^([0-9a-f]{16}) ([A-Za-z]) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Symbols:
    """Kernel symbols by address, in ascending order."""

    addresses: tuple[int, ...]
    names: tuple[str, ...]

    def address_of(self, place: str) -> int:
        """Return the address of `NAME` or `NAME+0xOFFSET`. Raises InputError if it is unknown."""
        name, _, offset = place.partition("+")
        if name not in self.names:
            raise InputError(f"the kernel's System.map has no function {name!r}")
        return self.addresses[self.names.index(name)] + int(offset or "0", 16)

    def name_of(self, address: int) -> str:
        """Return the function that contains `address`, `MODULE` or `USER`."""
        if address < _KERNEL_START:
            return USER
        at = bisect.bisect_right(self.addresses, address) - 1
        if at < 0 or at == len(self.addresses) - 1:
            return MODULE
        return self.names[at]


def parse_system_map(text: str) -> Symbols:
    """Return the text symbols in the content of a System.map; the last is the end of the text."""
    found = ((int(a, 16), name) for a, kind, name in _SYMBOL.findall(text) if kind in "tTwW")
    functions = sorted(found)
    return Symbols(tuple(a for a, _ in functions), tuple(n for _, n in functions))


class Variables:
    """Names of the kernel's variables by address."""

    def __init__(self, system_map: str):
        """`system_map`: content of a System.map."""
        found = sorted((int(a, 16), kind, name) for a, kind, name in _SYMBOL.findall(system_map))
        places = {name: address for address, _, name in found}
        self._first, self._end = places.get("_sdata", 0), places.get("_end", 0)
        kept = [(address, name) for address, kind, name in found if kind in "dDbB"]
        self._addresses = [address for address, _ in kept]
        self._names = [name for _, name in kept]

    def name_of(self, address: int) -> str:
        """Return `NAME` or `NAME+0xOFFSET`; `allocated` if no variable contains `address`."""
        at = bisect.bisect_right(self._addresses, address) - 1
        if at < 0 or not self._first <= address < self._end:
            return "allocated"
        offset = address - self._addresses[at]
        return f"{self._names[at]}+{offset:#x}" if offset else self._names[at]
