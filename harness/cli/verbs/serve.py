"""`vmapbench serve`: serve the pages of all runs to a browser."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import ReportsOption
from harness.console import echo


def command(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65535)] = 8064,
    reports: ReportsOption = Path("reports"),
) -> None:
    """Serve the index and the pages of all runs, read-only, until Ctrl-C.

    Whoever reaches the address can read every result; keep it on loopback unless this is intended.
    """
    from harness.cli.results import opened_store
    from harness.errors import InputError
    from harness.report.server import Pages, is_loopback, make_server

    if not host.strip():
        raise InputError(
            "--host is empty, which would be every address of this machine\n"
            "  next: leave it out (127.0.0.1), or use 0.0.0.0 if every address is intended"
        )
    with opened_store(reports) as store:
        try:
            server = make_server(Pages(store, reports), host, port, _notify)
            beyond = not is_loopback(host)
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"cannot listen on {host!r}, port {port}: "
                f"{getattr(error, 'strerror', None) or error}; --port 0 uses a free one"
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
            raise KeyboardInterrupt  # Waitress ends on it
        finally:
            server.close()


def _notify(text: str) -> None:
    echo(text, err=True)
