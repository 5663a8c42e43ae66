"""Explains where the time of a simulated boot goes, from the files that the plugin writes."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.targets.explanation import BootAccount, FunctionTime, LockUse, Stack
from harness.targets.simulated.machine import TICKS_PER_CYCLE, MachineModel
from harness.targets.simulated.profile import parse_table
from harness.targets.symbols import MODULE, SLOW_PATHS, Symbols, Variables, parse_system_map

# Functions that take a spin lock; the plugin records their calls. x86 does not inline them.
_TAKES = re.compile(r"_raw_spin_lock(_irq|_irqsave|_bh)?")
_NOTE = (
    "Waiting for a lock is from the call to the return of the function that takes it, so the "
    "transfer of its cache line is part of it; holding is from there to its release. Spin locks "
    "only."
)
_TIMES = ("taken", "timed", "wait_ns", "hold_ns")
_LONGEST = ("longest_wait_ns", "longest_hold_ns")


def lock_functions(system_map: Path) -> list[int]:
    """Return the addresses of the functions that take a spin lock."""
    symbols = parse_system_map(system_map.read_text(encoding="ascii", errors="replace"))
    found = zip(symbols.addresses, symbols.names, strict=True)
    return [address for address, name in found if _TAKES.fullmatch(name)]


def parse_locks(text: str, symbols: Symbols, variables: Variables) -> list[LockUse]:
    """Return the contents of a `locks-N.txt`, summed per lock and function that takes it."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for line in text.splitlines():
        lock, caller = (int(word, 16) for word in line.split()[:2])
        taken, timed, wait, hold, longest_wait, longest_hold = map(int, line.split()[2:])
        key = (
            variables.name_of(lock),
            symbols.name_of(caller - 1),
        )  # the call, not the instruction after it
        sums = found.setdefault(key, Counter())
        sums.update(dict(zip(_TIMES, (taken, timed, wait, hold), strict=True)))
        for name, value in zip(_LONGEST, (longest_wait, longest_hold), strict=True):
            sums[name] = max(sums[name], value)
    return [
        LockUse(lock=lock, caller=caller, **{name: sums[name] for name in (*_TIMES, *_LONGEST)})
        for (lock, caller), sums in found.items()
    ]


def unwind(pc: int, calls: Sequence[tuple[int, int]], symbols: Symbols) -> tuple[str, ...]:
    """Return the call stack at `pc`, outermost function first.

    `calls`: (return address, called address) of the words on the stack, from its top. A stale word
    of an earlier call is ignored, as its called function is not the one found before. After a tail
    call the chain continues at the module, which made the first call.
    """
    found = [symbols.name_of(pc)]
    rest = [(symbols.name_of(back - 1), symbols.name_of(to)) for back, to in calls]
    while rest and found[-1] != MODULE:
        slow = found[-1] in SLOW_PATHS  # reached by a tail call from the functions that take a lock
        at = next(
            (
                i
                for i, (_, to) in enumerate(rest)
                if to == found[-1] or (slow and _TAKES.fullmatch(to))
            ),
            next((i for i, (caller, _) in enumerate(rest) if caller == MODULE), None),
        )
        if at is None:
            break
        caller, called = rest[at]
        found += [caller] if called == found[-1] else [called, caller]
        rest = rest[at + 1 :]
    return tuple(reversed(found))


def parse_stacks(text: str, symbols: Symbols) -> Counter[tuple[str, ...]]:
    """Return the ticks per call stack in a `stacks-N.txt`, outermost function first."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        pc, *addresses = (int(word, 16) for word in line.split()[:-1])
        calls = list(zip(addresses[::2], addresses[1::2], strict=True))
        found[unwind(pc, calls, symbols)] += int(line.split()[-1])
    return found


def explain_boot(
    folder: Path, part: int, system_map: Path, machine: MachineModel
) -> BootAccount | None:
    """Return the account of part `part` of the boot in `folder`; None if the part did not end."""
    samples, locks, stacks = (folder / f"{n}-{part}.txt" for n in ("profile", "locks", "stacks"))
    if not (samples.is_file() and locks.is_file() and stacks.is_file()):
        return None
    text = system_map.read_text(encoding="ascii", errors="replace")
    symbols = parse_system_map(text)
    ticks: Counter[str] = Counter()
    for addresses, count in parse_table(samples.read_text(encoding="ascii")):
        ticks[symbols.name_of(addresses[0] if addresses else 0)] += count
    per_ns = TICKS_PER_CYCLE * machine.clock_mhz / 1000
    cpu_ns = {name: round(count / per_ns) for name, count in ticks.items()}
    return BootAccount(
        clock=f"virtual time, model {machine.name}",
        note=_NOTE,
        spin_ns=sum(cpu_ns.pop(name, 0) for name in SLOW_PATHS),
        locks=tuple(parse_locks(locks.read_text(encoding="ascii"), symbols, Variables(text))),
        functions=tuple(FunctionTime(function=name, cpu_ns=ns) for name, ns in cpu_ns.items()),
        stacks=tuple(
            Stack(functions=names, cpu_ns=round(count / per_ns))
            for names, count in parse_stacks(stacks.read_text(encoding="ascii"), symbols).items()
        ),
    )
