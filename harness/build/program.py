"""Compiles small C programs of the package when they are first needed."""

from collections.abc import Callable, Mapping
from pathlib import Path

from harness.errors import ToolError
from harness.process import Runner, describe_failure
from harness.scratch import scratch_folder


def compile_once(
    output: Path,
    sources: Mapping[str, bytes],
    argv: Callable[[Path, Path], list[str]],
    what: str,
    runner: Runner,
) -> Path:
    """Return `output`, compiled from `sources` (content by file name) unless it exists.

    `argv` returns the command for a folder of sources and an output file. Safe for concurrent
    threads and processes. Raises ToolError with `what` in its message.
    """
    if output.is_file():
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder("program", output.parent) as folder:
        for name, content in sources.items():
            (folder / name).write_bytes(content)
        compiled = folder / output.name
        done = runner.run(argv(folder, compiled), idle_s=120)
        if done.returncode:
            raise ToolError(f"compiling {what} failed: {describe_failure(done)}")
        compiled.replace(output)
    return output
