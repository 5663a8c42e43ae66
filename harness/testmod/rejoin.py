"""Rejoins lines of the module that other output on the console interrupted. Pure.

    [  102.4] Summary: fix_size_alloc_test passed: 1 fai[  102.4] usb 1-1: new device
    led: 0 repeat: 1 loops: 20 avg: 495 usec

A wrong number is worse than a missing line, so ambiguous lines are not rejoined.
"""

import itertools
import re

from harness.testmod.prefix import message_of

HEADS = r"Summary: (?=\w{1,64}_test )|All test took (?=worker|CPU)"
SUMMARY = (
    r"Summary: (\w{1,64}) passed: "
    r"(\d{1,10} failed: \d{1,10}(?: xfailed: \d{1,10})? repeat: (\d{1,10} loops: \d{1,10}))"
    r" avg: (\d{1,20}) usec"
)
TOTAL = r"All test took (?:worker|CPU)(\d{1,5})=(\d{1,20}) (cycles|nsecs)"

_HEAD = re.compile(HEADS)
_WHOLE = re.compile(f"{SUMMARY}|{TOTAL}")
_LINE_CHARACTERS = 400
_LINES_APART = 3
_REJOINED = 200  # more broken lines have another cause


def rejoin_lines(text: str) -> str:
    """Return `text` with the module's broken lines rejoined, at the place of their first part."""
    heads = (match.start() for match in _HEAD.finditer(text))
    broken = (begin for begin in heads if not _WHOLE.match(text, begin))
    pieces, at = [], 0
    for begin in itertools.islice(broken, _REJOINED):
        end = _line_end(text, begin)
        joined = _joined(text[begin:end], _following_lines(text, end)) if begin >= at else None
        if joined:
            whole, cut = joined
            pieces += [text[at:begin], whole, "\n"]
            at = begin + cut
    return "".join([*pieces, text[at:]])


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at, at + _LINE_CHARACTERS)
    return end if end >= 0 else min(len(text), at + _LINE_CHARACTERS)


def _following_lines(text: str, end: int) -> list[str]:
    lines = []
    for _ in range(_LINES_APART):
        begin, end = end + 1, _line_end(text, end + 1)
        lines.append(text[begin:end])
    return lines


def _joined(head: str, following: list[str]) -> tuple[str, int] | None:
    """Return the whole line, of a prefix of `head` and the beginning of a following line, or None.

    Also returns the length of that prefix; the rest of `head` is other output.
    """
    for line in following:
        for tail in dict.fromkeys((line, message_of(line))):
            # Try the longest prefix first; the other output follows after the cut.
            for cut in range(len(head), len("Summary: "), -1):
                whole = _WHOLE.match(head[:cut] + tail)
                if whole and whole.end() > cut:
                    return (whole[0], cut) if _is_certain(head, cut, tail) else None
    return None


def _is_certain(head: str, cut: int, tail: str) -> bool:
    """Return whether no digit can have been lost or added at the cut."""
    seam_in_number = head[cut - 1].isdigit()
    intruder = head[cut : cut + 1]
    return not seam_in_number or (not tail[:1].isdigit() and intruder in ("", "[", "<", "\r"))
