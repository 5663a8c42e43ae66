"""Reads the inventory of a lab host, and finds changes since its last use."""

import json

from harness.errors import ToolError
from harness.targets.inventory import FILES, Inventory, describe_change, parse_inventory
from harness.targets.ssh.shell import Shell

_KEPT = "inventory.json"


def read_files(shell: Shell, patterns: tuple[str, ...]) -> dict[str, str]:
    """Return path -> content of the readable files that match shell patterns."""
    # grep prefixes each line with its file, so that one process reads hundreds of files
    script = 'IFS=; for p; do set -- $p; grep -sH "" -- "$@"; done; exit 0'
    said = shell.run(["sh", "-c", script, "sh", *patterns]).stdout
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        path, colon, content = line.partition(":")
        if colon and path.startswith("/"):
            found.setdefault(path, []).append(content)
    return {path: "\n".join(lines) for path, lines in found.items()}


def collect_inventory(shell: Shell) -> Inventory:
    """Return the inventory of the host, as its running kernel reports it."""
    return parse_inventory(read_files(shell, FILES))


def note_changes(shell: Shell, state: str, inventory: Inventory) -> list[str]:
    """Return the changes since the host was last used, a line each, and store the new inventory.

    `state`: folder on the host. Only call it while the known-good kernel runs, as other kernels
    report some facts differently.
    """
    now = inventory.facts()
    try:
        before = json.loads(shell.get(f"{state}/{_KEPT}"))
        changes = describe_change(before, now)
    except (ToolError, ValueError, TypeError, RecursionError):  # never used, or an invalid file
        changes, before = [], None
    if before != now:
        shell.put(json.dumps(now, indent=1).encode(), f"{state}/{_KEPT}")
    return changes
