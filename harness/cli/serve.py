"""`vmapbench serve`: the pages of all runs in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import ReportsOption


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8064,
    reports: ReportsOption = Path("reports"),
) -> None:
    """Serve the index and the pages of all runs, read-only, until Ctrl-C.

    Whoever reaches the address reads every result: leave it on loopback unless that is meant.
    """
    from harness.cli.results import opened_store
    from harness.errors import InputError
    from harness.report.server import Pages, make_server

    with opened_store(reports) as store:
        try:
            server = make_server(Pages(store, reports), host, port)
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; --port 0 takes a "
                "free one"
            ) from error
        with server:
            typer.echo(f"http://{host}:{server.server_address[1]}/")
            server.serve_forever()
