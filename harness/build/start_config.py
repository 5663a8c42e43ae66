"""The configuration that a kernel starts from, if its kernel file has a `config`.

It is a `.config`, a defconfig of the tree, or localyesconfig. `REQUIRED`, which the harness needs,
and the kernel's own fragments change it. Its modules are dropped, since nothing could load them: a
guest has only our file system, and a lab host boots with that of its own kernel.
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
_LARGEST = 4 << 20  # bytes of a .config; a distribution's has 300,000


@dataclass(frozen=True)
class StartConfig:
    """Where the configuration comes from: a make target, a text, or both.

    `target`: a defconfig of the tree or localyesconfig, empty for a file. `text`: of a `.config`,
    empty for a defconfig. `modules`: what localyesconfig takes for lsmod's output.
    """

    word: str  # as in the kernel file
    target: str = ""
    text: str = ""
    modules: str = ""

    @property
    def inputs(self) -> list[str]:
        """Return what a build's key contains."""
        digests = [sha256(text.encode()).hexdigest() for text in (self.text, self.modules)]
        return [self.target, *digests]


def required_fragments(spec: KernelSpec) -> tuple[str, ...]:
    """Return the fragments, below the kernels folder, that come before the kernel's own."""
    return (REQUIRED, *spec.arch.required) if spec.config else ()


def read_start_config(spec: KernelSpec, system: Path = Path("/")) -> StartConfig | None:
    """Return the start configuration of `spec`, None if it has none. Raises InputError.

    `system`: the root folder of the machine for localyesconfig, with proc and boot.
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
    """Return the configuration file of `spec`, None if `config` is not a file."""
    if not spec.config or spec.config == LOCALYES or is_defconfig(spec.config):
        return None
    path = Path(spec.config).expanduser()
    return path if path.is_absolute() else find_kernel_file(spec.folder, spec.config)


def _read(path: Path | None) -> str:
    if path is None or not path.is_file():
        raise InputError(
            f"config: {path} does not exist\n  next: name a .config, a defconfig of the tree "
            f"such as x86_64_defconfig, or {LOCALYES}"
        )
    with path.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    return checked_text(content, str(path))


def checked_text(content: bytes, name: str) -> str:
    """Return the text of a `.config`, possibly gzip. Raises InputError if it is not one."""
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(_LARGEST + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"config: {name}: {error}") from error
    text = content.decode("utf-8", "replace")
    if len(content) > _LARGEST or not parse_config(text):
        raise InputError(
            f"config: {name} is not a kernel configuration: expected lines like CONFIG_SMP=y"
        )
    return text


def _running_config(system: Path) -> str:
    """Return the configuration of the running kernel."""
    places = [system / "proc/config.gz", system / f"boot/config-{os.uname().release}"]
    for place in places:
        if place.is_file():
            return checked_text(place.read_bytes(), str(place))
    raise InputError(
        f"config: {LOCALYES} needs the running kernel's configuration, but there is neither "
        f"{' nor '.join(map(str, places))}\n  next: copy its .config here and name the file"
    )


def _loaded_modules(system: Path) -> str:
    """Return the loaded modules in the format of `lsmod`, if any."""
    listed = system / "proc/modules"
    rows = listed.read_text(encoding="ascii").splitlines() if listed.is_file() else []
    names = sorted(row.split()[0] for row in rows)  # sizes and users change from hour to hour
    return "\n".join(["Module Size Used by", *(f"{name} 0 0" for name in names), ""])


def start_text(values: Mapping[str, str], requests: Collection[str]) -> tuple[str, int]:
    """Return a configuration without its modules and the symbols in `requests`, as text.

    `values`: values by symbol. Also returns the number of modules. The fragments' values follow it.
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
    """Return what the fragments changed, like `CONFIG_TEST_VMALLOC=m`."""
    symbols = [s.symbol for request in requests.values() for s in request.alternatives]
    return [
        f"CONFIG_{symbol}={after.get(symbol, 'n')}"
        for symbol in dict.fromkeys(symbols)
        if before.get(symbol, "n") != after.get(symbol, "n")
    ]


def describe_start(config: str, added: Sequence[str], dropped_modules: int) -> str:
    """Return, as text, what a kernel started from and what was changed."""
    parts = [f"added: {', '.join(added)}" if added else "nothing added"]
    if dropped_modules:
        modules = "1 module" if dropped_modules == 1 else f"{dropped_modules} modules"
        parts.append(f"{modules} left out, which nothing could load")
    return f"starts from {config}; {'; '.join(parts)}"
