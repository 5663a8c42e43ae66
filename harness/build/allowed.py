"""Which files a series from mail may change: the kernel's own code, never what its build runs."""

import functools
import re
from collections.abc import Sequence

# Refused regardless of the patterns: a build or its user executes these. No folder is exempt, since
# Linux sources even Documentation/Kconfig.
_PROGRAM = re.compile(
    r"(?:.*/)?(?:(?:Kconfig|Kbuild|(?:GNU)?Makefile)[^/]*"
    r"|.*\.(?:mk|sh|bash|py|pl|pm|awk|sed|lua|rb|tcl|cocci|conf|config|lds|S))",
    re.IGNORECASE | re.DOTALL,
)


def refusal(name: str, executable: bool, patterns: Sequence[str]) -> str:
    """Return why a file may not be changed, empty if it may.

    `executable`: whether it is or was executable. In `patterns` (relative paths) `*` and `?` do not
    match a slash, `**/` matches any number of folders. A file that a build may execute is allowed
    only by a pattern that names it in full.
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
