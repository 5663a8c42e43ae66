"""Finds and applies patches; one that does not apply is reported with its file and hunk.

A patch is a file, or a folder with one file for each form of the code, of which the first that
applies is used, in the order of their names.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.build.git import run_outside
from harness.build.sandbox import SandboxPaths
from harness.build.start_config import config_file, required_fragments
from harness.errors import InputError
from harness.process import Completed, Runner
from harness.spec.kernel import KernelSpec

_REJECTED = re.compile(r"^error: patch failed: (?P<file>.+):(?P<line>\d+)$", re.MULTILINE)


def describe_rejection(output: str) -> str:
    """Return the files, hunks and reasons that git printed for a patch that does not apply."""
    places = [
        f"{found['file']}: the hunk at line {found['line']} does not match"
        for found in _REJECTED.finditer(output)
    ]
    rest = [line for line in output.splitlines() if line.startswith("error: ")]
    return "; ".join(places or rest or [output.strip() or "git gave no reason"])


def patch_forms(patch: Path) -> tuple[Path, ...]:
    """Return the files of a patch: itself, or those of a folder; empty if it does not exist."""
    if patch.is_dir():
        return tuple(sorted(patch.glob("*.patch")))
    return (patch,) if patch.is_file() else ()


def copy_inputs(spec: KernelSpec, folder: Path) -> None:
    """Copy patches, fragments and configuration of `spec` to their names below `folder`.

    A configuration with an absolute path is not copied. Raises InputError if a file is missing.
    """
    names = [*spec.patches, *spec.fragments, *required_fragments(spec)]
    if (start := config_file(spec)) and spec.config[0] not in "/~":
        names.append(spec.name_of(start))
    for name in names:
        files = patch_forms(spec.place(name))
        if not files:
            raise InputError(f"kernel {spec.name}: {spec.place(name)} does not exist")
        for file in files:
            copy = folder / spec.name_of(file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def flat_name(patch: str) -> str:
    """Return the file name of a patch among the files of a run: its path without slashes."""
    return patch.removeprefix("patches/").replace("/", "-")


def first_applicable(
    patch: Path, attempt: Callable[[Path], Completed]
) -> tuple[Path | None, list[str]]:
    """Return the form of `patch` that applied, if any, and why each one before it did not.

    `attempt` applies the file of a form with git.
    """
    refused: list[str] = []
    for form in patch_forms(patch):
        done = attempt(form.resolve())
        if done.returncode == 0:
            return form, refused
        refused.append(f"{form.name}: {describe_rejection(done.output)}")
    return None, refused


def apply_patches(
    tree: Path, patches: Sequence[Path], runner: Runner, *, contained: bool = False
) -> tuple[Path, ...]:
    """Apply `patches` to `tree`, in order, and return the file used of each.

    `contained`: git runs in a sandbox. Raises InputError with file and hunk of every form of a
    patch of which none applies.
    """

    def attempt(form: Path) -> Completed:
        # git refuses paths outside the folder, and replaces files instead of writing into them,
        # since they are hard links to the pristine source.
        view = SandboxPaths((tree,), (form,)) if contained else None
        return run_outside(runner, ["apply", "--whitespace=nowarn", str(form)], tree, view=view)

    taken = []
    for patch in patches:
        form, refused = first_applicable(patch, attempt)
        if form is None:
            reasons = "\n  ".join(refused)
            raise InputError(
                f"applying {patch} to {tree.name}: {reasons}\n"
                "  next: rebase the patch onto this source, or use the source that it was made for"
            )
        taken.append(form)
    return tuple(taken)
