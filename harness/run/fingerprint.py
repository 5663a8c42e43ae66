"""What is known of the machine that measures, so that unlike machines are never mixed up."""

import hashlib
import json
import os
import platform
import re
from pathlib import Path
from typing import Any


def host_fingerprint(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> dict[str, Any]:
    """Return CPU, microcode, memory, kernel and BIOS of this machine; `id` is their digest."""
    cpuinfo = _read(proc / "cpuinfo")
    facts: dict[str, Any] = {
        "cpu": _field(cpuinfo, "model name"),
        "stepping": _field(cpuinfo, "stepping"),
        "microcode": _field(cpuinfo, "microcode"),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "kernel": platform.release(),
        "bios": _read(sys / "class/dmi/id/bios_version"),
    }
    facts["id"] = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    return facts


def _field(text: str, name: str) -> str:
    match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
