"""`vmapbench init`: write the shipped kernels and playbooks to a folder."""

from pathlib import Path
from typing import Annotated

import typer

from harness.console import echo

KINDS = ("kernels", "playbooks")


def command(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; created if missing.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be written, write nothing.")
    ] = False,
) -> None:
    """Write the shipped kernels, patches, fragments and playbooks to FOLDER, as examples to edit.

    When run in FOLDER, vmapbench uses these files instead of the shipped ones. If an existing file
    differs, nothing is written.
    """
    from harness.errors import InputError
    from harness.spec.shipped import shipped_folder

    source = shipped_folder()
    paths = sorted(
        path.relative_to(source)
        for kind in KINDS
        for path in (source / kind).rglob("*")
        if path.is_file()
    )
    try:
        there = [path for path in paths if (folder / path).exists()]
        differing = [p for p in there if (folder / p).read_bytes() != (source / p).read_bytes()]
        if differing:
            raise InputError(
                f"{folder} has different files of these names: {', '.join(map(str, differing))}\n"
                "  next: name another folder, or move these files"
            )
        new = [path for path in paths if path not in there]
        for path in [] if dry_run else new:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes((source / path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot write the examples to {folder}: {error}") from error
    echo(f"{folder}: {'would write' if dry_run else 'wrote'} {len(new)} files")
    echo(f"next: cd {folder} && vmapbench run demo")
