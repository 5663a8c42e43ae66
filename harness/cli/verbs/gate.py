"""`vmapbench gate`: check that a kernel is correct."""

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import KernelsOption, listed
from harness.console import echo, tell
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.build.cache import Cache
    from harness.process import Runner
    from harness.spec.kernel import KernelSpec


def command(
    what: Annotated[
        str, typer.Argument(help="A kernel's name, or a commit; default: the working tree.")
    ] = "",
    patch: Annotated[
        str,
        typer.Option(
            help="Patches to apply: a mailbox, a folder, - for stdin, or a path below KERNELS."
        ),
    ] = "",
    tree: Annotated[Path, typer.Option(help="The kernel tree.")] = Path(),
    checks: Annotated[str, typer.Option(help="Checks, comma-separated; default: all.")] = "",
    kernels: KernelsOption = Path("kernels"),
    output: Annotated[Path, typer.Option(help="Folder of the logs.")] = Path("reports/gate"),
    form: Annotated[str, typer.Option("--format", help="text, json, ktap or junit.")] = "text",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
) -> None:
    """Boot debug builds of a kernel, run every case, and report what the kernel detects.

    Checks: memory (KASAN, UBSAN, lockdep, kmemleak), failures (the same while allocations fail),
    hotplug (while CPUs go offline and online), races (KCSAN), model (every address as
    predicted). Times are not measured. The exit code is 1 if a check fails.
    """
    from harness.build.cache import Cache, cache_folder
    from harness.cli.progress import show_progress
    from harness.errors import InputError
    from harness.process import SubprocessRunner
    from harness.report.gate import FORMATS
    from harness.run.gate import BY_CHECK, only, run_gate

    if form not in FORMATS:
        raise InputError(f"--format: found {form!r}, expected one of {', '.join(FORMATS)}")
    names = listed(checks)
    if unknown := [name for name in names if name not in BY_CHECK]:
        raise InputError(f"--checks: found {', '.join(unknown)}, expected {', '.join(BY_CHECK)}")
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S-%f")
    folder = (output / f"gate-{stamp}").absolute()
    cache, runner = Cache(cache_folder()), SubprocessRunner()
    spec = _spec(what, patch, tree, kernels, folder, cache, runner)
    if dry_run:
        for check in only(names):
            echo(f"{check.name}: {check.what}; {spec.name} with {', '.join(check.fragments)}")
            for load in check.loads:
                echo("    " + " ".join(f"{name}={value}" for name, value in load.items()))
        return
    echo(f"{spec.name}: logs go to {folder}", err=True)
    with show_progress(live=sys.stderr.isatty()) as observer:
        rows = run_gate(spec, only(names), folder, cache.folder, runner, tell, observer.build)
    echo(FORMATS[form](spec.label or spec.name, rows))
    if not all(row.good for row in rows):
        raise typer.Exit(ExitCode.BAD_VERDICT)


def _spec(
    what: str, patch: str, tree: Path, kernels: Path, folder: Path, cache: "Cache", runner: "Runner"
) -> "KernelSpec":
    """Return the kernel of a kernel file, a commit or the working tree, with patches."""
    from harness.build.sides import find_change, side_kernels
    from harness.errors import InputError
    from harness.run.ab import Options, side_recipe
    from harness.spec.kernel import load_kernel_spec
    from harness.spec.shipped import find_kernel_file
    from harness.targets.qemu.spec import QemuSpec

    if what and find_kernel_file(kernels, f"{what}.yaml").exists():
        spec = load_kernel_spec(what, kernels)
        return spec.model_copy(update={"patches": (*spec.patches, *([patch] if patch else []))})
    try:
        sides = find_change(tree, what, patch, cache, runner)
    except InputError as error:
        raise InputError(
            f"there is no {kernels / what}.yaml; {error}" if what else str(error)
        ) from error
    recipe = side_recipe(sides, QemuSpec(kind="qemu"), Options())
    return side_kernels(sides, recipe, folder / "kernels", cache, runner)[1]
