"""docs/reference/commands.md is what the verbs say of themselves."""

from pathlib import Path

from harness.cli.reference import render_commands

DOCS = Path(__file__).parents[3] / "docs" / "reference"


def test_the_reference_is_what_the_verbs_say():
    """Else: python -m harness.cli.reference."""
    assert (DOCS / "commands.md").read_text(encoding="utf-8") == render_commands()


def test_every_verb_argument_and_option_is_described():
    for line in render_commands().splitlines():
        assert not (line.startswith("* `") and line.endswith("`")), line
