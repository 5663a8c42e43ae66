"""`vmapbench calibrate`: profile locks on one CPU, for `vmapbench predict`."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import KernelsOption
from harness.console import echo, tell


def command(
    name: Annotated[
        str, typer.Argument(help="A kernel that takes the boot parameter vmap_nodes=.")
    ] = "node-limit",
    kernels: KernelsOption = Path("kernels"),
    output: Annotated[Path, typer.Option(help="A new folder for the result.")] = Path(
        "reports/calibration"
    ),
) -> None:
    """Profile the locks of every case on one CPU, and write calibration.json."""
    from harness.build.cache import cache_folder
    from harness.build.kernel import ensure_kernel
    from harness.errors import InputError
    from harness.model.calibration import render_calibration
    from harness.process import SubprocessRunner
    from harness.run.calibrate import calibrate as measure
    from harness.spec.kernel import load_kernel_spec

    if output.exists():
        raise InputError(f"--output {output} already exists; name a new folder")
    runner = SubprocessRunner()
    kernel = ensure_kernel(load_kernel_spec(name, kernels), cache_folder(), runner, lambda _: None)
    output.mkdir(parents=True)
    found = measure(kernel, output.resolve(), cache_folder(), runner, tell)
    path = output / "calibration.json"
    path.write_text(render_calibration(found), encoding="utf-8")
    echo(path)
