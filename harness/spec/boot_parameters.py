r"""The kernel's command line, parsed as the kernel does, and the harness's reserved parameters.

lib/cmdline.c (next_arg) splits at blanks outside of double quotes, and removes one pair of quotes
around a word or its value; kernel/params.c (parameq) treats `-` and `_` alike; everything after a
bare `--` goes to init (init/main.c). So do parameters unknown to the kernel: as arguments, or with
a `=` as environment.
"""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|\Z))+')
_OURS = (
    (r"rdinit|initrd|noinitrd|initrdmem", "the harness decides what the kernel starts first"),
    (r"panic|sysctl\.kernel\.panic", "a crash must restart the machine when the harness says"),
    (r"vmapbench\..*", "it is for the harness's own programs"),
)
_OF_INIT = (
    (
        r"init|systemd\..*|rd\..*|s|single|emergency|rescue|[1-5]|break|b|[A-Z][A-Z0-9_]*",
        "it changes how the machine's init starts, which must stay the same",
    ),
    (r"", "what follows it goes to init, not to the kernel"),
)


def split_command_line(line: str) -> list[str]:
    """Return the words up to `--`, with their quotes, as the kernel splits them."""
    parts = _WORD.findall(line)
    return parts[: parts.index("--")] if "--" in parts else parts


def name_of(word: str) -> str:
    """Return the parameter that a word sets, unquoted, with `_` for `-` and `.` for `/`."""
    name = word.removeprefix('"').partition("=")[0].strip('"')
    return name.replace("-", "_").replace("/", ".").strip("_")


def is_ours(word: str) -> bool:
    """Return whether the harness sets this parameter itself, in place of a host's own value."""
    return _why(word, _OURS) is not None


def why_reserved(word: str) -> str | None:
    """Return why no file may set this parameter; None if files may."""
    return _why(word, (*_OURS, *_OF_INIT))


def _why(word: str, rows: Sequence[tuple[str, str]]) -> str | None:
    name = name_of(word)
    return next((why for names, why in rows if re.fullmatch(names, name)), None)


def _not_reserved(word: str) -> str:
    if why := why_reserved(word):
        raise ValueError(f"{word} may not be set: {why}")
    return word


BootParameter = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.:-]+(=[A-Za-z0-9_.,:/@%+-]*)?\Z"),
    AfterValidator(_not_reserved),
]
