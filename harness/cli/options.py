"""Options that several verbs share."""

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import InputError

KernelsOption = Annotated[Path, typer.Option("--kernels", help="Folder of your kernel files.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of the results.")]


def share(option: str, text: str) -> float:
    """Return `3%` or `0.03` as 0.03. Raises InputError where it is no share above 0."""
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?|\.\d+)\s*(%?)\s*", text)
    found = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < found < 10:
        raise InputError(f"{option}: found {text!r}, expected a share above 0, like 3%")
    return found
