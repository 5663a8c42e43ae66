"""Reads the frames that the guest's init writes; see init.c for the format. Pure."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """One report of the guest. `complete` tells whether all announced bytes arrived."""

    name: str
    content: str
    complete: bool


def parse_frames(data: bytes, nonce: str) -> list[Frame]:
    """Return the frames under `nonce` in order; a last one that was cut off is not `complete`.

    Never raises on what a guest wrote. Bytes that are no UTF-8 are replaced.
    """
    tag = re.escape(nonce.encode())
    begin = re.compile(rb"<<" + tag + rb" begin ([^>\n]+)>>\n")
    frames = []
    at = 0
    while match := begin.search(data, at):
        name = match[1]
        end = re.compile(rb"\n<<" + tag + rb" end " + re.escape(name) + rb" (\d{1,18})>>\n")
        close = end.search(data, match.end())
        stop = close.start() if close else len(data)
        content = data[match.end() : stop]
        complete = close is not None and len(content) == int(close[1])
        frames.append(
            Frame(name.decode(errors="replace"), content.decode(errors="replace"), complete)
        )
        at = close.end() if close else len(data)
    return frames


def parse_fields(text: str) -> dict[str, str]:
    """Return `key=value` words as a dict; words without `=` are left out."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def parse_meminfo(text: str) -> dict[str, int]:
    """Return /proc/meminfo as name -> KiB (plain counts for the HugePages lines)."""
    found = re.findall(r"^(\w+(?:\(\w+\))?):\s+([0-9]{1,18})\b", text, re.MULTILINE)
    return {name: int(value) for name, value in found}
