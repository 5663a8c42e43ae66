"""`vmapbench serve`: the pages of all runs in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import ReportsOption
from harness.console import echo


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8064,
    reports: ReportsOption = Path("reports"),
) -> None:
    """Serve the index and the pages of all runs, read-only, until Ctrl-C.

    Everyone who reaches the address can read every result: leave it on loopback unless intended.
    """
    from harness.cli.results import opened_store
    from harness.errors import InputError
    from harness.report.server import Pages, is_loopback, make_server

    if not host.strip():
        raise InputError(
            "--host is empty, which would be every address of this machine\n"
            "  next: leave it out (127.0.0.1), or say 0.0.0.0 if every address is meant"
        )
    with opened_store(reports) as store:
        try:
            server = make_server(Pages(store, reports), host, port, _notify)
            beyond = not is_loopback(host)
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"cannot listen on {host!r}, port {port}: "
                f"{getattr(error, 'strerror', None) or error}; --port 0 takes a free one"
            ) from error
        if beyond:
            _notify(
                "warning: everyone who reaches this address can read every result; there is no "
                "password and no encryption"
            )
        shown = f"[{host}]" if ":" in host else host
        echo(f"http://{shown}:{server.effective_port}/")
        try:
            server.run()
            raise KeyboardInterrupt  # Waitress takes it as the word to end
        finally:
            server.close()


def _notify(text: str) -> None:
    echo(text, err=True)
