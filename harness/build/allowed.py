"""Which files a series from mail may change: the kernel's own code, never what its build runs."""

import functools
import re
from collections.abc import Sequence

# Whatever the patterns say: these are run or read as instructions by a build or by its user. Linux
# sources Documentation/Kconfig, so no folder is too far away.
_PROGRAM = re.compile(
    r"(?:.*/)?(?:(?:Kconfig|Kbuild|(?:GNU)?Makefile)[^/]*"
    r"|.*\.(?:mk|sh|bash|py|pl|pm|awk|sed|lua|rb|tcl|cocci|conf|config|lds|S))",
    re.IGNORECASE | re.DOTALL,
)


def refusal(name: str, executable: bool, patterns: Sequence[str]) -> str:
    """Return why a file may not be changed, empty where it may.

    `executable`: it is, or was before. In `patterns` (relative paths) `*` and `?` stand
    for anything but a slash, `**/` for any number of folders. A file that a build may run is
    allowed only by a pattern that names it in full.
    """
    if not any(_compiled(pattern).fullmatch(name) for pattern in patterns):
        return f"only {', '.join(patterns)} may be changed"
    program = _PROGRAM.fullmatch(name) is not None
    named = name in patterns and not re.search(r"[*?]", name)
    if program:
        return "" if named else "a build may run it"
    return "it is executable" if executable else ""


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in re.split(r"(\*\*/|\*\*|[*?])", pattern):
        parts.append(_MEANINGS.get(part) or re.escape(part))
    return re.compile("".join(parts), re.DOTALL)


_MEANINGS = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
