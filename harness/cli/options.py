"""Options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

KernelsOption = Annotated[Path, typer.Option("--kernels", help="Folder of your kernel files.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder of the results.")]
