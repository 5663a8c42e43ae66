"""What consoles, dmesg and journals put around a kernel's line."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,32}[A-Za-z]")

# Level, kmsg record header, journal, time stamp in brackets (seconds, `dmesg -T`), caller id.
_PREFIX = re.compile(
    r"(?:<\d{1,4}>)?"
    r"(?:\d{1,4},\d{1,20},\d{1,20},[^;\n]{1,64};)?"
    r"(?:[^\n]{0,200}? kernel: ?)?"
    r"(?:<\d{1,4}>)?"
    r"(?:\[[ \d.:A-Za-z,+-]{1,40}\] ?)?"
    r"(?:\[ *[TC]\d{1,10}\] ?)?"
)


def strip_colour(text: str) -> str:
    """Return `text` without terminal sequences; lines stay where they are."""
    return _COLOUR.sub("", text) if "\x1b" in text else text


def message_of(line: str) -> str:
    """Return the kernel's own words in `line`, their indentation kept."""
    match = _PREFIX.match(line)
    return line[match.end() :] if match else line
