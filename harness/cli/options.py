"""Options that several verbs share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError

KernelsOption = Annotated[Path, typer.Option("--kernels", help="Folder of your kernel files.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of the results.")]


def listed(text: str) -> tuple[str, ...]:
    """Return the names in `a, b,c`, in order."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def seconds(option: str, text: str) -> float:
    """Return `90s`, `20m`, `2h` or `1h30m` in seconds. Raises InputError for anything else."""
    match = re.fullmatch(r"\s*(?:(\d{1,4})h)?\s*(?:(\d{1,6})m(?:in)?)?\s*(?:(\d{1,8})s)?\s*", text)
    found = (
        sum(int(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True))
        if match
        else 0
    )
    if not found:
        raise InputError(f"{option}: found {text!r}, expected a time like 20m, 90s or 1h30m")
    return float(found)


def share(option: str, text: str) -> float:
    """Return `3%` or `0.03` as 0.03. Raises InputError, also for `3`, which is ambiguous."""
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?|\.\d+)\s*(%?)\s*", text)
    found = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not match or not 0 < found < (10 if match[2] else 1):
        raise InputError(f"{option}: found {text!r}, expected a share like 3% or 0.03")
    return found
