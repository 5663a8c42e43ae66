"""Reads the frames that the guest's init writes; see init.c for the format. Pure."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """One named report of the guest; `complete` if its length is the one that its end announces."""

    name: str
    content: str
    complete: bool


def parse_frames(data: bytes, nonce: str) -> list[Frame]:
    """Return the frames with this nonce, in order; a truncated last one is not `complete`.

    Raises nothing, whatever the guest wrote. Bytes that are not UTF-8 are replaced.
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
    """Return the `key=value` words of a text as a dict; words without `=` are ignored."""
    return dict(word.split("=", 1) for word in text.split() if "=" in word)


def parse_meminfo(text: str) -> dict[str, int]:
    """Return /proc/meminfo as name -> KiB (plain counts for the HugePages lines)."""
    found = re.findall(r"^(\w+(?:\(\w+\))?):\s+([0-9]{1,18})\b", text, re.MULTILINE)
    return {name: int(value) for name, value in found}
