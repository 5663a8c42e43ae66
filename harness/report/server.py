"""`vmapbench serve`: serves the pages of a store over HTTP, read-only, without access to files.

Clients and the contents of runs are untrusted. Waitress handles the connections, so that slow or
idle ones do not block others. A page is rendered again after its run has a new boot.
"""

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask, Task, WSGITask

from harness.report.collect import as_document, collect_report
from harness.report.index import render_index
from harness.report.page import render_page
from harness.report.view import View
from harness.store.store import Store
from harness.text import one_line, visible

_HTML, _JSON, _CSV = "text/html; charset=utf-8", "application/json", "text/csv; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_PAGES_KEPT = 20
_THREADS, _CONNECTIONS, _IDLE_S = 4, 500, 30

# Scripts and styles are inline; a page loads nothing and must not be framed.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Pages:
    """The content to serve, by path. `reports`: folder of the runs' logs and configurations."""

    def __init__(self, store: Store, reports: Path):
        """Serve the runs of `store`."""
        self._store, self._reports = store, reports
        self._kept: dict[tuple[str, str | int], str] = {}
        self._rendering = threading.Lock()

    def answer(self, path: str) -> tuple[str, str] | None:
        """Return content type and text at a decoded path, None if it does not exist."""
        parts = [word for word in path.split("/") if word]
        runs = self._store.list_runs()
        if parts in ([], ["index.html"]):
            return _HTML, self._index(f"{runs['boots'].sum()} {runs['finished_at'].count()}")
        boots = dict(zip(runs["id"], runs["done"], strict=True))
        if parts[0] == "latest" and boots:
            parts[0] = str(runs["id"].iloc[-1])
        if parts[0] not in boots or len(parts) > 2:
            return None
        kinds: dict[str, Callable[[str], tuple[str, str]]] = {
            "index.html": lambda run: (_HTML, self._page(run, int(boots[run]))),
            "results.json": self._results,
            "samples.csv": self._samples,
        }
        kind = kinds.get(parts[1] if len(parts) == 2 else "index.html")
        return kind(parts[0]) if kind else None

    def _index(self, state: str) -> str:
        """Return the index page, rendered again if `state` has changed."""
        with contextlib.suppress(OSError):
            state += f" {(self._reports / 'index.html').stat().st_mtime_ns}"

        def render() -> str:
            return render_index(self._store, self._reports, served=True)

        return self._keep(("", state), render)

    def _page(self, run_id: str, boots: int) -> str:
        def render() -> str:
            return render_page(View(collect_report(self._store, run_id)), self._reports / run_id)

        return self._keep((run_id, boots), render)

    def _keep(self, key: tuple[str, str | int], render: Callable[[], str]) -> str:
        """Return the cached text of `key`, or render it; only one page at a time is rendered."""
        if (kept := self._kept.get(key)) is not None:
            return kept
        with self._rendering:
            if key not in self._kept:
                if len(self._kept) >= _PAGES_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = render()
            return self._kept[key]

    def _results(self, run_id: str) -> tuple[str, str]:
        document = as_document(collect_report(self._store, run_id))
        return _JSON, json.dumps(document, indent=1, default=str)

    def _samples(self, run_id: str) -> tuple[str, str]:
        return _CSV, visible(self._store.samples_frame(run_id).to_csv(index=False))


def make_server(
    pages: Pages, host: str, port: int, notify: Callable[[str], None] = lambda _: None
) -> Any:
    """Return a bound Waitress server; its `run()` serves until Ctrl-C.

    `host`: name or IPv4 or IPv6 address; `port`: 0 for a free one; `notify`: called with a line
    for each page that could not be rendered. Raises OSError if the address cannot be bound.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    server = create_server(
        _application(pages, {host.lower(), *_own_names()}, notify),
        sockets=[bound],
        threads=_THREADS,
        connection_limit=_CONNECTIONS,
        channel_timeout=_IDLE_S,
        cleanup_interval=max(1, _IDLE_S // 6),
        max_request_body_size=1,  # requests have no body
        max_request_header_size=16384,
        asyncore_use_poll=True,
        ident="vmapbench",
    )
    server.channel_class = _Channel
    return server


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address or name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(at[4][0]).split("%")[0]).is_loopback for at in found)


def _application(pages: Pages, names: set[str], notify: Callable[[str], None]) -> Any:
    """Return the WSGI application. `names`: accepted host names."""

    def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, text = _answer(pages, names, environ, notify)
        body = text.encode("utf-8", "replace")
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        start(f"{status.value} {status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return application


def _answer(
    pages: Pages, names: set[str], environ: dict[str, Any], notify: Callable[[str], None]
) -> tuple[HTTPStatus, str, str]:
    if not _is_ours(environ.get("HTTP_HOST", ""), names):
        # Other names may be used for DNS rebinding.
        text = "unknown host name; use the address of this server or the name of its machine\n"
        return HTTPStatus.MISDIRECTED_REQUEST, _TEXT, text
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, "only GET and HEAD\n"
    path = environ["PATH_INFO"].encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        found = pages.answer(path)
    except Exception as error:
        text = visible(f"this page cannot be rendered: {type(error).__name__}: {error}\n")
        notify(f"{one_line(path, 200)}: {text.strip()}")
        return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, text
    if found is None:
        return HTTPStatus.NOT_FOUND, _TEXT, "page not found; / lists all runs\n"
    return HTTPStatus.OK, *found


def _is_ours(host: str, names: set[str]) -> bool:
    """Return whether a Host header has an address or one of `names`."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name in names


def _own_names() -> set[str]:
    return {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}


class _Answer(Task):  # type: ignore[misc]
    """A response with our headers, also for Waitress's own responses to invalid requests."""

    def build_response_header(self) -> bytes:
        """Return the header of the response, with the headers added."""
        self.response_headers.extend(_HEADERS)
        return bytes(super().build_response_header())


class _PageTask(_Answer, WSGITask):  # type: ignore[misc]
    pass


class _BadRequestTask(_Answer, ErrorTask):  # type: ignore[misc]
    pass


class _Channel(HTTPChannel):  # type: ignore[misc]
    task_class = _PageTask
    error_task_class = _BadRequestTask
