"""`vmapbench check`: the faults of a playbook."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import KernelsOption
from harness.console import echo


def command(
    file: Annotated[Path, typer.Argument(help="A playbook: its file, or a name.")],
    kernels: KernelsOption = Path("kernels"),
) -> None:
    """Check a playbook and the kernel files it names; every fault is listed with its line."""
    from harness.run.session import check_playbook

    echo(f"{file}: good, {check_playbook(file, kernels)} boots")
