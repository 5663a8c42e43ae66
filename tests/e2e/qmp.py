"""Asks QEMU's monitor. As a script: the power switch of a lab host in a box."""

import json
import socket
import sys
from pathlib import Path


def ask(monitor: Path, command: str, **arguments: object) -> object:
    """Send one command to the monitor at that socket and return its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        stream = connection.makefile("rw")
        stream.readline()  # the greeting
        for name, words in (("qmp_capabilities", {}), (command, arguments)):
            stream.write(json.dumps({"execute": name, "arguments": words}) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
            while "event" in answer:
                answer = json.loads(stream.readline())
            assert "return" in answer, answer
    return answer["return"]


if __name__ == "__main__":
    ask(Path(sys.argv[1]), "system_reset")
