"""Records /dev/kmsg over connections that may be lost and opened again.

A record is `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT` (Documentation/ABI/testing/dev-kmsg). Each
new reader gets the whole buffer again, so repeated records are recognised by sequence number.
"""

import re
import time
from pathlib import Path

from harness.testmod.verdicts import first_crash

FOLLOW = ("kmsg",)  # a verb of the helper

_MOST_BYTES = 256 << 20  # per boot, so that endless output cannot fill the disk
_RECORD = re.compile(r"^(\d{1,4}),(\d{1,20}),(\d{1,20}),[^;]{1,64};(.*)\Z")


class KmsgLog:
    """Appends each record once to `file` when it arrives, formatted as by dmesg.

    `crash`: the first line that reports a crash, or empty; `lost`: number of records that were
    overwritten in the kernel's buffer before they were read.
    """

    def __init__(self, file: Path):
        """Open `file` for appending."""
        self._file, self._last, self._at = file, -1, time.monotonic()
        self.crash = ""
        self._room = _MOST_BYTES
        self.lost = 0

    def take(self, line: str) -> None:
        """Process a line of /dev/kmsg; continuation lines and repeated records are dropped."""
        record = _RECORD.match(line)
        if record is None:
            return
        priority, sequence, time_us, text = *map(int, record.group(1, 2, 3)), record[4]
        if sequence <= self._last:
            return
        if self._last >= 0:
            self.lost += sequence - self._last - 1
        self._last, self._at = sequence, time.monotonic()
        prefix = "" if priority < 8 else f"<{priority}>"  # a program that writes to /dev/kmsg
        line = f"{prefix}[{time_us // 1_000_000:5}.{time_us % 1_000_000:06}] {text}"
        self._look(line)
        self.note(line)

    def note(self, line: str) -> None:
        """Write a line. Past `_MOST_BYTES` nothing is written but a last line that says so."""
        if self._room <= 0:
            return
        self._room -= len(line) + 1
        if self._room <= 0:
            line = f"---- vmapbench: more than {_MOST_BYTES >> 20} MiB: the rest is left out"
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def append(self, text: str) -> None:
        """Write kernel messages from another source (serial console, pstore)."""
        for line in text.splitlines():
            self._look(line)
            self.note(line)

    def listen(self) -> None:
        """Restart the measurement of silence, for a new connection."""
        self._at = time.monotonic()

    def silent_s(self) -> float:
        """Return the seconds since the last record or `listen`."""
        return time.monotonic() - self._at

    def _look(self, text: str) -> None:
        self.crash = self.crash or first_crash(text)
