"""Applies patches in order; one that does not apply is named with its file and hunk."""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InputError
from harness.process import Runner

_REJECTED = re.compile(r"^error: patch failed: (?P<file>.+):(?P<line>\d+)$", re.MULTILINE)


def apply_argv(patch: Path) -> list[str]:
    """Return the command that applies `patch` in the current folder, wholly or not at all.

    git refuses paths outside the folder, and writes new files rather than into the old ones,
    which are hard links to the pristine source.
    """
    return ["git", "apply", "--whitespace=nowarn", str(patch)]


def describe_rejection(output: str) -> str:
    """Return what git said of a patch that does not apply: every file, hunk and reason."""
    places = [
        f"{found['file']}: the hunk at line {found['line']} does not match"
        for found in _REJECTED.finditer(output)
    ]
    rest = [line for line in output.splitlines() if line.startswith("error: ")]
    return "; ".join(places or rest or [output.strip() or "git gave no reason"])


def apply_patches(tree: Path, patches: Sequence[Path], runner: Runner) -> None:
    """Apply `patches` to `tree`, in order. Raises InputError naming patch, file and hunk."""
    for patch in patches:
        # Without the ceiling git takes a cache inside some other repository for a part of it,
        # and silently skips every file.
        ceiling = {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
        done = runner.run(apply_argv(patch), cwd=tree, env=ceiling)
        if done.returncode:
            raise InputError(
                f"applying {patch} to {tree.name}: {describe_rejection(done.output)}\n"
                "  next: rebase the patch onto this source, or name the source that it is for"
            )
