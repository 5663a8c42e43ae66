r"""The kernel's command line, read as the kernel reads it, and what the harness keeps for itself.

lib/cmdline.c (next_arg) splits at blanks outside of double quotes, and takes one pair of quotes
off a word or its value; kernel/params.c (parameq) takes `-` and `_` for the same; from a bare `--`
on all is init's (init/main.c). A parameter that the kernel does not know is init's as well:
an argument without `=`, its environment with it.
"""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|\Z))+')
_OURS = (
    (r"rdinit|initrd|noinitrd|initrdmem", "the harness decides what the kernel starts first"),
    (r"panic|sysctl\.kernel\.panic", "a crash must restart the machine when the harness says"),
    (r"vmapbench\..*", "it steers the harness's own programs"),
)
_OF_INIT = (
    (
        r"init|systemd\..*|rd\..*|s|single|emergency|rescue|[1-5]|break|b|[A-Z][A-Z0-9_]*",
        "it steers the machine's init, which must start as it always does",
    ),
    (r"", "what stands after it is init's, not the kernel's"),
)


def split_command_line(line: str) -> list[str]:
    """Return the words of a command line that the kernel takes, quotes and all; none after `--`."""
    parts = _WORD.findall(line)
    return parts[: parts.index("--")] if "--" in parts else parts


def name_of(word: str) -> str:
    """Return the parameter that a word sets: no quotes, `_` for `-`, `.` for `/`."""
    name = word.removeprefix('"').partition("=")[0].strip('"')
    return name.replace("-", "_").replace("/", ".").strip("_")


def is_ours(word: str) -> bool:
    """Whether the harness gives this parameter itself, so that a host's own value must go."""
    return _why(word, _OURS) is not None


def why_reserved(word: str) -> str | None:
    """Return why no file may give this word; None for one that any may."""
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
