"""The configuration that a kernel starts from, where it is not nothing but what fragments ask for.

`config` of a kernel file: a `.config`, a defconfig of the tree, or localyesconfig. What the harness
must have comes on top (`REQUIRED`), then the kernel's own fragments; every other symbol is as the
configuration has it. Its modules are left out: nothing could load them, since a guest has no file
system but ours, and a lab host boots with that of its own kernel.
"""

import gzip
import io
import os
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from harness.build.fragments import Request
from harness.build.kconfig import parse_config
from harness.errors import InputError
from harness.spec.kernel import KernelSpec
from harness.spec.shipped import find_kernel_file

REQUIRED = "fragments/required.config"
LOCALYES = "localyesconfig"

_DEFCONFIG = re.compile(r"^[\w-]*defconfig\Z")
_LARGEST = 4 << 20  # bytes of a .config; those of distributions have 300,000


@dataclass(frozen=True)
class StartConfig:
    """Where the configuration comes from: a make target, a text, or both.

    `target`: a defconfig of the tree or localyesconfig, empty for a file. `text`: of a `.config`,
    empty for a defconfig. `modules`: what localyesconfig takes for lsmod's output.
    """

    word: str  # as the kernel file has it
    target: str = ""
    text: str = ""
    modules: str = ""

    @property
    def inputs(self) -> list[str]:
        """Return what a build's key has of it."""
        digests = [sha256(text.encode()).hexdigest() for text in (self.text, self.modules)]
        return [self.target, *digests]


def required_fragments(spec: KernelSpec) -> tuple[str, ...]:
    """Return the fragments that come before the kernel's own, below the kernels folder."""
    return (REQUIRED, *spec.arch.required) if spec.config else ()


def read_start_config(spec: KernelSpec, system: Path = Path("/")) -> StartConfig | None:
    """Return what `spec` starts from, None where that is nothing. Raises InputError.

    `system`: below it lie proc and boot of the machine that localyesconfig is for.
    """
    word = spec.config
    if not word:
        return None
    if word == LOCALYES:
        return StartConfig(word, LOCALYES, _running_config(system), _loaded_modules(system))
    if is_defconfig(word):
        return StartConfig(word, word)
    return StartConfig(word, text=_read(config_file(spec)))


def is_defconfig(word: str) -> bool:
    """Return whether `word` names a configuration of the tree, not a file."""
    return _DEFCONFIG.match(word) is not None


def config_file(spec: KernelSpec) -> Path | None:
    """Return the file that `spec` starts from; None where it names none."""
    if not spec.config or spec.config == LOCALYES or is_defconfig(spec.config):
        return None
    path = Path(spec.config).expanduser()
    return path if path.is_absolute() else find_kernel_file(spec.folder, spec.config)


def _read(path: Path | None) -> str:
    if path is None or not path.is_file():
        raise InputError(
            f"config: there is no file {path}\n  next: name a .config, a defconfig of the tree "
            f"such as x86_64_defconfig, or {LOCALYES}"
        )
    with path.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    return checked_text(content, str(path))


def checked_text(content: bytes, name: str) -> str:
    """Return the text of a `.config`, gzip allowed. Raises InputError for what is none."""
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(_LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"config: {name}: {error}") from error
    text = content.decode("utf-8", "replace")
    if len(content) > _LARGEST or not parse_config(text):
        raise InputError(
            f"config: {name} is no kernel configuration: expected lines like CONFIG_SMP=y"
        )
    return text


def _running_config(system: Path) -> str:
    """Return the configuration of the kernel that runs here."""
    places = [system / "proc/config.gz", system / f"boot/config-{os.uname().release}"]
    for place in places:
        if place.is_file():
            return checked_text(place.read_bytes(), str(place))
    raise InputError(
        f"config: {LOCALYES} starts from the running kernel's configuration, and there is neither "
        f"{' nor '.join(map(str, places))}\n  next: copy its .config here and name the file"
    )


def _loaded_modules(system: Path) -> str:
    """Return the loaded modules as `lsmod` prints them; a kernel without any has no such file."""
    listed = system / "proc/modules"
    rows = listed.read_text(encoding="ascii").splitlines() if listed.is_file() else []
    names = sorted(row.split()[0] for row in rows)  # sizes and users change from hour to hour
    return "\n".join(["Module Size Used by", *(f"{name} 0 0" for name in names), ""])


def start_text(values: Mapping[str, str], requests: Collection[str]) -> tuple[str, int]:
    """Return the text of a start without its modules and `requests`, and how many modules it had.

    `values`: symbol -> value. What the fragments ask for is written behind it.
    """
    kept = {symbol: value for symbol, value in values.items() if symbol not in requests}
    modules = sum(value == "m" for value in kept.values())
    lines = (
        f"# CONFIG_{symbol} is not set\n" if value in ("m", "n") else f"CONFIG_{symbol}={value}\n"
        for symbol, value in kept.items()
    )
    return "".join(lines), modules


def additions(
    before: Mapping[str, str], after: Mapping[str, str], requests: Mapping[str, Request]
) -> Sequence[str]:
    """Return what fragments made other than the start had it, as `CONFIG_TEST_VMALLOC=m`."""
    symbols = [s.symbol for request in requests.values() for s in request.alternatives]
    return [
        f"CONFIG_{symbol}={after.get(symbol, 'n')}"
        for symbol in dict.fromkeys(symbols)
        if before.get(symbol, "n") != after.get(symbol, "n")
    ]


def describe_start(config: str, added: Sequence[str], dropped_modules: int) -> str:
    """Return what a kernel started from and what was changed in it, for people."""
    parts = [f"added: {', '.join(added)}" if added else "nothing added"]
    if dropped_modules:
        modules = "1 module" if dropped_modules == 1 else f"{dropped_modules} modules"
        parts.append(f"{modules} left out, which nothing could load")
    return f"starts from {config}; {'; '.join(parts)}"
