"""The fingerprint of this machine, so that results of different machines are not mixed."""

import os
from pathlib import Path
from typing import Any

from harness.targets.inventory import FILES, parse_inventory


def host_fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Return the inventory of the machine below `root`; `cores`: CPUs that we may use."""
    texts = {
        f"/{path.relative_to(root)}": _read(path)
        for pattern in FILES
        for path in root.glob(pattern.lstrip("/"))
    }
    return {**parse_inventory(texts).facts(), "cores": os.cpu_count()}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
