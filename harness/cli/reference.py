"""Writes docs/reference/commands.md, the reference of the command line, from the verbs themselves.

python -m harness.cli.reference
"""

from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from harness.cli.main import command_line

_EXIT_CODES = """
## Exit codes

| code | meaning |
| --- | --- |
| 0 | all well |
| 1 | a verdict is bad: a kernel that does not build, boot or pass, or a change that is slower |
| 2 | the input is wrong: a file, an option, a parameter of the module |
| 3 | the machinery broke: a program, a disk, a host, the store |
| 130 | interrupted, by Ctrl-C, SIGTERM or SIGHUP; what was measured is kept |
"""


def render_commands() -> str:
    """Return docs/reference/commands.md."""
    root: Any = typer.main.get_command(command_line())
    for verb in root.commands.values():  # else cut to 45 characters
        verb.short_help = (verb.help or "").partition("\n\n")[0]
    context = typer.Context(root, info_name="vmapbench")
    text = get_docs_for_click(obj=root, ctx=context, name="vmapbench", title="Command line")
    return text.rstrip() + "\n" + _EXIT_CODES


if __name__ == "__main__":
    place = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
    place.write_text(render_commands(), encoding="utf-8")
