"""docs/reference/commands.md is what the verbs say of themselves."""

import ast
from pathlib import Path

import harness.cli
from harness.cli.reference import render_commands

DOCS = Path(__file__).parents[3] / "docs" / "reference"


def test_the_reference_is_what_the_verbs_say():
    """Else: python -m harness.cli.reference."""
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == render_commands()


def test_every_verb_argument_and_option_is_described():
    for line in render_commands().splitlines():
        assert not (line.startswith("* `") and line.endswith("`")), line


def test_every_exit_code_is_one_of_the_documented():
    """A number in place of an `ExitCode` would be in no table."""
    numbers = []
    for file in Path(harness.cli.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.Exit", "sys.exit"}:
                numbers += [
                    f"{file.name}:{part.lineno}"
                    for argument in node.args
                    for part in ast.walk(argument)
                    if isinstance(part, ast.Constant)
                ]
    assert numbers == []
