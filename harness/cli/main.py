"""The command line: finds and runs a verb, and turns errors into messages and exit codes.

The codes are those of `harness.errors.ExitCode`.
"""

import importlib
import os
import sys
import traceback
from typing import Annotated

import typer
from typer.exceptions import TyperException

from harness import __version__
from harness.console import describe, echo, open_streams
from harness.errors import ExitCode, VmapbenchError
from harness.plugins import names
from harness.signals import termination_interrupts


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"vmapbench {__version__}")
        raise typer.Exit


def _require_sandbox(wanted: bool) -> None:
    if wanted:
        os.environ["VMAPBENCH_SANDBOX"] = "required"


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Build in a sandbox only, as with VMAPBENCH_SANDBOX=required.",
            callback=_require_sandbox,
        ),
    ] = False,
) -> None:
    """Handle the options before the verb."""


def command_line() -> typer.Typer:
    """Return the command line; each module in `verbs` is a verb or a group of verbs."""
    app = typer.Typer(
        name="vmapbench",
        help="Measures what a change to the kernel's vmalloc does on many-core machines.",
        callback=_root,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name in names("harness.cli.verbs"):
        command = importlib.import_module(f"harness.cli.verbs.{name}").command
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main() -> None:
    """Run the command line and exit."""
    debug = "--debug" in sys.argv
    open_streams()
    try:
        status = _run()
        sys.stdout.flush()
    except VmapbenchError as error:
        status = _report(str(error), error.exit_code, debug)
    except TyperException as error:
        status = _report(f"{error.format_message()}\n  try --help", ExitCode.BAD_INPUT, debug)
    except (KeyboardInterrupt, typer.Abort):
        echo("\ninterrupted", err=True)
        status = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone: print nothing when the interpreter flushes at exit.
        _drop_output()
        status = ExitCode.OK
    except OSError as error:
        status = _report(describe(error), ExitCode.FAILURE, debug)
        _drop_output()
    except Exception as error:  # no traceback for users
        text = f"internal error: {type(error).__name__}: {error}\n  next: report it, with --debug"
        status = _report(text, ExitCode.FAILURE, debug)
    sys.exit(status)


def _run() -> int:
    """Run the verb that the arguments name; return its exit code.

    typer's own main would treat Ctrl-C and a closed pipe like any other end.
    """
    command = typer.main.get_command(command_line())
    try:
        with (
            termination_interrupts(),
            command.make_context("vmapbench", sys.argv[1:]) as context,
        ):
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return ExitCode.OK


def _drop_output() -> None:
    """Discard what the interpreter writes at exit, since standard output is closed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(text: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    echo(f"vmapbench: {text}", err=True)
    return status


if __name__ == "__main__":
    main()
