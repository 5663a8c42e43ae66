"""Sanitises untrusted text for a terminal, page, chart, table, mail or XML.

Text from kernels, mail, hosts, stores, playbooks and visitors may hold anything. `_UNSAFE` matches
the characters that act instead of being read; the functions below differ in what they put in their
place. All of them are idempotent.
"""

import re
import textwrap

MAIL_COLUMNS = 72

# What a terminal takes as a command: CSI (colours, clear screen), OSC and the like (title,
# clipboard).
_SEQUENCE = r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"

# Control characters except tab and newline; invisible ones and those that change the direction of
# writing; what UTF-8 or XML (https://www.w3.org/TR/xml/#charsets) cannot hold.
_CHARACTERS = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"
)
_UNSAFE = re.compile(f"{_SEQUENCE}|[{_CHARACTERS}]")
_UNSAFE_IN_LINE = re.compile(f"[{_CHARACTERS}\t\n]")


def visible(text: str) -> str:
    """Return `text` for people, lines kept, with U+FFFD in place of unsafe characters."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def wrapped(text: str, indent: int = 0, columns: int = MAIL_COLUMNS) -> list[str]:
    """Return `text` as lines of at most `columns`, each indented by `indent` blanks."""
    margin = " " * indent
    return textwrap.wrap(
        text, columns, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )


def one_line(text: str, limit: int | None = None) -> str:
    """Return `text` for people as one line; unsafe characters and white space become one blank.

    For titles, header fields and names in a message. `limit`: the most characters.
    """
    return " ".join(_UNSAFE.sub(" ", text).split())[:limit]


def escaped(text: str) -> str:
    """Return `text` for programs, lines kept, with unsafe characters as escapes like \\x1b."""
    return _UNSAFE.sub(_written_out, text.replace("\r\n", "\n"))


def escaped_line(text: str) -> str:
    """Return `text` for programs as one line; tabs and newlines are escaped too."""
    return _UNSAFE_IN_LINE.sub(_written_out, text)


def storable(text: str) -> str:
    """Return `text` without NUL and lone surrogates, which SQLite or PostgreSQL refuse."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _written_out(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
