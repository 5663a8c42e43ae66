"""The grammar of prefixes that consoles, journals, CI systems and mail add to kernel messages.

All parsers of logs use it. A prefix is a sequence of pieces in any order.
"""

import re
from collections.abc import Callable
from enum import StrEnum


class LineSource(StrEnum):
    """The origin of a line, as far as its prefix shows it."""

    KERNEL = "kernel"
    OTHER = "other"  # a daemon in a journal, or a program that writes to /dev/kmsg
    DATED = "dated"  # with a date by a CI system and without the kernel's time stamp
    UNKNOWN = "unknown"


_DATE = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_PRINTK_TIME = r"\[ {0,12}\d{1,10}\.\d{1,9}(?:,\d{1,6})?\] ?"
_CALLER = r"\[ {0,12}[TC]\d{1,10}\] ?"
_IDENT = r"[\w.-]{1,64} (?P<ident>[^\s:\[]{1,64})(?:\[\d{1,10}\])?: ?"
_CI, _RFC_5424 = "CI (LAVA, GitHub), dmesg --time-format iso", "syslog, RFC 5424"
_PIECES = {
    "printk": _PRINTK_TIME,
    "caller": _CALLER,
    "level (its facility is kern below 8)": r"<(?P<level>\d{1,4})>",
    "/dev/kmsg, netconsole": r"(?P<record>\d{1,4}),\d{1,20},\d{1,20},[^;\n]{1,64};",
    "dmesg -T": r"\[\w{3} \w{3} {1,2}\d{1,2} \d\d:\d\d:\d\d \d{4}\] ",
    "dmesg -H": r"\[(?:\w{3}\d\d \d\d:\d\d| {0,8}\+\d{1,8}\.\d{1,9})\] ",
    "dmesg -x": r"(?P<facility>\w{3,8}) {0,6}:\w{3,6} {0,4}: ?",
    _RFC_5424: (
        rf"1 {_DATE}(?:Z|[+-]\d\d:\d\d) \S{{1,64}} (?P<app>\S{{1,48}}) \S{{1,64}} \S{{1,32}} "
        r"(?:-|\[[^\]\n]{0,99}\]) "
    ),
    "journal": rf"[^\W\d]{{2,12}}\.? {{1,2}}\d{{1,2}} \d\d:\d\d:\d\d(?:\.\d{{1,9}})? {_IDENT}",
    "journal, ISO": rf"{_DATE}[+-]\d\d:?\d\d {_IDENT.replace('ident', 'iso_ident')}",
    _CI: rf"(?P<date>{_DATE}(?:Z|[+-]\d\d:?\d\d)? )",
    "CI (kunit.py, Buildkite)": r"\[\d\d:\d\d:\d\d\] ",
    "z/VM console": r"\d\d: (?=\[)",
    "ftrace console": (
        r"[^\n]{1,32}-\d{1,10} {1,8}\[\d{1,5}\] \S{4,6} {1,12}\d{1,10}\.\d{1,9}: console: "
    ),
    "mail": r">(?: |(?=>))",
    "kselftest, TAP diagnostics": r"# (?!Subtest:)",
}
_PREFIX = re.compile("(?:" + "|".join(_PIECES.values()) + "){0,16}")
DATES = rf"(?:<\d{{1,4}}>)?(?:{_PIECES[_CI]}|{_PIECES[_RFC_5424]}){{1,4}}"
"""The prefixes that do not end in punctuation: dates of CI systems, and RFC 5424."""
_STAMP = re.compile(_PRINTK_TIME)
_QUOTING = (
    "### dt-test ### EXPECT"  # the devicetree self-test announces the messages that it provokes
)
_STAMPED_BEHIND_A_DATE = re.compile(
    rf"^{_DATE}(?:Z|[+-]\d\d:?\d\d)? (?:<\d{{1,4}}>)?{_PRINTK_TIME}", re.M
)
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,32}[A-Za-z]")


def strip_colour(text: str) -> str:
    """Return `text` without terminal escape sequences; the number of lines does not change."""
    return _COLOUR.sub("", text) if "\x1b" in text else text


def split_prefix(line: str) -> tuple[str, str]:
    """Return the prefix of `line`, and the message with its indentation."""
    end = _match(line).end()
    return line[:end], line[end:]


def message_of(line: str) -> str:
    """Return the kernel's message in `line`, with its indentation."""
    return split_prefix(line)[1]


def record_of(line: str) -> tuple[str, str]:
    """Return time stamp and message of `line`, which are equal in all logs with this record."""
    prefix, message = split_prefix(line)
    stamp = _STAMP.search(prefix)
    return stamp[0].strip() if stamp else "", message.strip()


def is_kernels(line: str, ci_dates: Callable[[], bool]) -> bool:
    """Return whether a kernel message may follow after `line`, the beginning of a line.

    `ci_dates`: returns `ci_dates_lines` of the whole log; called only if necessary.
    """
    if _QUOTING in line:
        return False
    line_source = _line_source(_match(line))
    if line_source is LineSource.DATED and ci_dates():
        return bool(_STAMP.search(line))  # a time stamp may follow a prompt
    return line_source is not LineSource.OTHER


def ci_dates_lines(text: str) -> bool:
    """Return whether `text` is by a CI system that adds dates to the kernel's lines as well."""
    return bool(_STAMPED_BEHIND_A_DATE.search(text))


def _match(line: str) -> re.Match[str]:
    match = _PREFIX.match(line)
    assert match is not None  # it matches the empty text
    return match


def _line_source(match: re.Match[str]) -> LineSource:
    if ident := match["ident"] or match["iso_ident"] or match["app"]:
        return LineSource.KERNEL if ident == "kernel" else LineSource.OTHER
    if facility := match["facility"]:
        return LineSource.KERNEL if facility == "kern" else LineSource.OTHER
    if level := match["record"] or match["level"]:
        return LineSource.KERNEL if int(level) < 8 else LineSource.OTHER
    if _STAMP.search(match[0]):
        return LineSource.KERNEL
    return LineSource.DATED if match["date"] else LineSource.UNKNOWN
