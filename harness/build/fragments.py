"""Configuration fragments: requested symbols, with alternatives, checked against a kernel.

A fragment is a `.config`, with one addition: a line may name alternatives, in order of preference,

    CONFIG_PREEMPT_VOLUNTARY=y | CONFIG_PREEMPT_LAZY=y
    CONFIG_SLUB_CPU_PARTIAL=y | absent

of which the first that the kernel's Kconfig permits is used. `absent` is permitted only if no
Kconfig file declares the symbol; a symbol that exists but cannot have the value is an error. A line
whose symbols only other architectures declare is skipped, so that architectures can share
fragments. A symbol that Kconfig marks as renamed (`transitional`) is requested by its new name.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.build.kconfig import parse_config
from harness.errors import InputError

ABSENT = "absent"

# A declaration within a choice may be indented.
_DECLARATION = re.compile(rb"^[ \t]*(?:menu)?config[ \t]+(\w+)[ \t\r]*(?:#.*)?$", re.MULTILINE)

# `config NEW` with `default OLD`, where OLD exists only to pass on its value.
_TRANSITIONAL = re.compile(rb"^[ \t]+transitional[ \t\r]*$", re.MULTILINE)
_DEFAULT = re.compile(rb"^[ \t]+default[ \t]+(\w+)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    """One symbol (without `CONFIG_`) and its requested value; ABSENT: no such symbol."""

    symbol: str
    value: str

    def __str__(self) -> str:
        """Return the setting as a line of a fragment."""
        return ABSENT if self.value == ABSENT else f"CONFIG_{self.symbol}={self.value}"


@dataclass(frozen=True)
class Request:
    """One line of a fragment: settings in order of preference."""

    alternatives: tuple[Setting, ...]
    fragment: str  # the file's name, for messages


def load_requests(fragments: Sequence[Path]) -> dict[str, Request]:
    """Return the requests of all fragments by symbol; a later line replaces an earlier one.

    A line with alternatives is keyed by the first symbol that it names.
    Raises InputError with the place of a line that cannot be read.
    """
    requests: dict[str, Request] = {}
    for path in fragments:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                alternatives = _parse_line(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: {error}") from error
            if alternatives:
                requests[alternatives[0].symbol] = Request(alternatives, path.name)
    return requests


def _parse_line(line: str) -> tuple[Setting, ...]:
    parts = [part.strip() for part in line.split(" | ")]
    if line.lstrip().startswith("#") or len(parts) == 1:
        return tuple(Setting(*item) for item in parse_config(line).items())
    settings: list[Setting] = []
    for part in parts:
        named = parse_config(part)
        if part == ABSENT and settings:
            settings.append(Setting(settings[0].symbol, ABSENT))
        elif len(named) == 1:
            settings.append(Setting(*next(iter(named.items()))))
        else:
            raise ValueError(f"{part!r} is neither CONFIG_SYMBOL=value nor, last, `{ABSENT}`")
    return tuple(settings)


@dataclass(frozen=True)
class Declared:
    """The symbols that a tree's Kconfig files declare. `foreign`: only for other architectures.

    `renamed`: new name by former name, for former names whose values Kconfig still accepts. Former
    names are in neither set.
    """

    own: frozenset[str]
    foreign: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)


def declared_symbols(tree: Path, source: str) -> Declared:
    """Return the symbols that any Kconfig file below `tree` declares.

    `source`: the architecture's folder below arch/. Broken links, links out of the tree and what is
    not a file are ignored. Raises InputError for a file that cannot be read.
    """
    own: set[bytes] = set()
    other: set[bytes] = set()
    renamed: dict[str, str] = {}
    inside, arch = os.path.realpath(tree), f"{tree / 'arch'}{os.sep}"
    ours = f"{arch}{source}{os.sep}"
    for folder, _, names in os.walk(tree):
        place = f"{folder}{os.sep}"
        foreign = place.startswith(arch) and place != arch and not place.startswith(ours)
        found = other if foreign else own
        for path in (Path(folder, name) for name in names if name.startswith("Kconfig")):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                continue
            try:
                if path.is_file():
                    text = path.read_bytes()
                    found.update(_DECLARATION.findall(text))
                    renamed |= {} if foreign else _renamed(text)
            except OSError as error:
                raise InputError(f"reading {path}: {error.strerror}") from error
    former = frozenset(renamed)
    declared = _decoded(own) - former
    return Declared(declared, _decoded(other) - declared - former, renamed)


def _renamed(text: bytes) -> dict[str, str]:
    """Return new name by former name of the symbols that a Kconfig file marks transitional."""
    if not _TRANSITIONAL.search(text):
        return {}
    _, *parts = _DECLARATION.split(text)
    blocks = list(zip(parts[::2], parts[1::2], strict=True))
    former = {name for name, block in blocks if _TRANSITIONAL.search(block)}
    return {
        old.decode(): name.decode()
        for name, block in blocks
        for old in _DEFAULT.findall(block)
        if old in former
    }


def _decoded(symbols: Iterable[bytes]) -> frozenset[str]:
    return frozenset(symbol.decode() for symbol in symbols)


def ignored_requests(requests: Mapping[str, Request], declared: Declared) -> list[str]:
    """Return the first symbols of the requests that only concern other architectures."""
    return [
        name
        for name, request in requests.items()
        if {setting.symbol for setting in request.alternatives} <= declared.foreign
    ]


@dataclass(frozen=True)
class Configuration:
    """The configuration of one kernel that results from its fragments."""

    values: Mapping[str, str]  # symbol -> value as `.config` has it
    declared: Declared  # by the kernel's Kconfig
    chosen: Mapping[str, str]  # symbol -> setting used, for requests with alternatives


def choose(
    requests: Mapping[str, Request],
    declared: Declared,
    configure: Callable[[str], Mapping[str, str]],
) -> Configuration:
    """Return the configuration with the first possible alternative of each request.

    `configure` takes the text of a `.config` and returns the values, by symbol, after olddefconfig.
    It is called again while a dropped symbol has another alternative. Raises InputError with every
    request of which no alternative was possible.
    """
    requests = {name: _by_new_names(request, declared) for name, request in requests.items()}
    place = dict.fromkeys(requests, 0)
    while True:
        taken = {name: request.alternatives[place[name]] for name, request in requests.items()}
        values = configure("".join(f"{s}\n" for s in taken.values() if s.value != ABSENT))
        refused = [
            name for name, setting in taken.items() if not _granted(setting, values, declared)
        ]
        movable = [n for n in refused if place[n] + 1 < len(requests[n].alternatives)]
        if not movable:
            break
        for name in movable:
            place[name] += 1
    if refused:
        lines = [_fault(requests[name], values, declared) for name in refused]
        raise InputError(
            "configuring the kernel: symbols were dropped after olddefconfig\n"
            + "\n".join(lines)
            + "\n  next: add what the symbol depends on, name an alternative "
            "(CONFIG_A=y | CONFIG_B=y, or | absent), or take it out of the fragment"
        )
    chosen = {
        name: str(taken[name])
        for name, request in requests.items()
        if len(request.alternatives) > 1 or name in declared.renamed
    }
    return Configuration(values, declared, chosen)


def _by_new_names(request: Request, declared: Declared) -> Request:
    new = [
        replace(setting, symbol=declared.renamed.get(setting.symbol, setting.symbol))
        for setting in request.alternatives
    ]
    return replace(request, alternatives=tuple(new))


def _granted(setting: Setting, values: Mapping[str, str], declared: Declared) -> bool:
    if setting.value == ABSENT:
        return setting.symbol not in declared.own
    return values.get(setting.symbol, "n") == setting.value


def _fault(request: Request, values: Mapping[str, str], declared: Declared) -> str:
    asked = " | ".join(str(setting) for setting in request.alternatives)
    gives = ", ".join(
        f"{symbol}={values.get(symbol, _missing(symbol, declared))}"
        for symbol in dict.fromkeys(setting.symbol for setting in request.alternatives)
    )
    return f"  {request.fragment} asks for {asked}; the kernel gives {gives}"


def _missing(symbol: str, declared: Declared) -> str:
    return (
        "n (a dependency is missing)"
        if symbol in declared.own
        else "absent (it has no such symbol)"
    )
