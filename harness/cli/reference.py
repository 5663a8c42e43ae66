"""Generates docs/reference/commands.md, the reference of the command line.

python -m harness.cli.reference
"""

from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from harness.cli.main import command_line
from harness.errors import ExitCode


def render_exit_codes() -> str:
    """Return the table of exit codes."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["## Exit codes", "", "| code | meaning |", "| --- | --- |", *rows, ""])


def render_commands() -> str:
    """Return docs/reference/commands.md."""
    root: Any = typer.main.get_command(command_line())
    for verb in root.commands.values():  # instead of cut to 45 characters
        verb.short_help = (verb.help or "").partition("\n\n")[0]
    context = typer.Context(root, info_name="vmapbench")
    text = get_docs_for_click(obj=root, ctx=context, name="vmapbench", title="Command line")
    return f"{text.rstrip()}\n\n{render_exit_codes()}"


if __name__ == "__main__":
    place = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
    place.write_text(render_commands(), encoding="utf-8")
