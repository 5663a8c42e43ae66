"""`vmapbench check`: report the errors of a playbook or nightly file."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import KernelsOption
from harness.console import echo


def command(
    file: Annotated[Path, typer.Argument(help="A playbook (its file or name) or a nightly file.")],
    kernels: KernelsOption = Path("kernels"),
) -> None:
    """Check a playbook or nightly file, and the files it names; list all errors by line."""
    from harness.run.session import check_playbook
    from harness.spec.nightly import is_nightly, load_nightly

    if is_nightly(file):
        spec = load_nightly(file)
        boots = sum(check_playbook(spec.path(name), kernels) for name in spec.playbooks)
        count = len(spec.candidates)
        echo(f"{file}: good, {count} candidate{'s' * (count > 1)}, {boots} boots of its playbooks")
        echo(f"  next: vmapbench nightly {file} --dry-run looks for the candidates")
        return
    echo(f"{file}: good, {check_playbook(file, kernels)} boots")
