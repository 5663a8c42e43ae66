"""`vmapbench build`: build kernels and keep them."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.console import echo

if TYPE_CHECKING:
    from rich.progress import TaskID

    from harness.build.kernel import BuildProgress


def command(
    names: Annotated[list[str], typer.Argument(help="Kernels: NAME of kernels/NAME.yaml.")],
    kernels: Annotated[Path, typer.Option(help="Folder of the kernel files.")] = Path("kernels"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be built.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no progress.")] = False,
) -> None:
    """Build kernels, unless they have been built already."""
    from harness.build.cache import Cache, cache_folder
    from harness.build.kernel import ensure_kernel, find_built
    from harness.build.plan import plan_build
    from harness.build.sandbox import is_contained
    from harness.build.start_config import describe_start
    from harness.process import SubprocessRunner
    from harness.spec.kernel import load_kernel_spec

    cache, runner = Cache(cache_folder()), SubprocessRunner()
    specs = [load_kernel_spec(name, kernels) for name in names]
    rows: list[dict[str, str | bool]] = []
    row: dict[str, str | bool]
    if dry_run:
        for spec in specs:
            plan = plan_build(spec, cache, runner)
            built = find_built(plan, cache)
            folder = str(cache.place("kernels", plan.key))
            row = {"kernel": spec.name, "built": built is not None, "folder": folder}
            rows.append({**row, "contained": is_contained(spec)})
    else:
        with _display(quiet=as_json) as progress:
            for spec in specs:
                built = ensure_kernel(spec, cache, runner, progress)
                row = {"kernel": spec.name, "release": built.release, "key": built.key}
                row |= {"folder": str(built.folder), "contained": built.contained}
                if spec.config:
                    row["config"] = describe_start(spec.config, built.added, built.dropped_modules)
                rows.append(row)
    if as_json:
        echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "built" if row.get("built", True) else "to be built"
        echo(f"{row['kernel']}: {state}: {row['folder']}")
        if "config" in row:
            echo(f"    {row['config']}")


@contextlib.contextmanager
def _display(quiet: bool) -> "Iterator[Callable[[BuildProgress], None]]":
    """Show phase, targets and time of each kernel on stderr; in a log only phases."""
    with contextlib.ExitStack() as stack:
        shows: list[Callable[[BuildProgress], None]] = []

        def show(state: "BuildProgress") -> None:
            if not shows:  # a kernel in the cache needs no display, which takes time to load
                shows.append(_bars(stack) if sys.stderr.isatty() else _phases())
            shows[0](state)

        yield (lambda _: None) if quiet else show


def _bars(stack: contextlib.ExitStack) -> "Callable[[BuildProgress], None]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[kernel]}: {task.description}"),
        *(BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("targets")),
        TimeElapsedColumn(),
    )
    bars = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
    tasks: dict[str, TaskID] = {}

    def show(state: "BuildProgress") -> None:
        if state.kernel not in tasks:
            tasks[state.kernel] = bars.add_task("", kernel=state.kernel)
        total = max(state.total, state.targets) if state.total else None
        task = tasks[state.kernel]
        bars.update(task, description=state.phase, completed=state.targets, total=total)

    return show


def _phases() -> "Callable[[BuildProgress], None]":
    seen: set[tuple[str, str]] = set()

    def show(state: "BuildProgress") -> None:
        if (state.kernel, state.phase) not in seen:
            seen.add((state.kernel, state.phase))
            echo(f"{state.kernel}: {state.phase}", err=True)

    return show
