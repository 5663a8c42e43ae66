"""`vmapbench serve`: the store's pages over HTTP. Read-only, from the store, no file of the disk.

A page is made anew when its run has got another boot since; requests are answered one by one.
"""

import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.errors import VmapbenchError
from harness.report.collect import as_document, collect_report
from harness.report.index import render_index
from harness.report.page import render_page
from harness.store.store import Store

_HTML, _JSON, _CSV = "text/html; charset=utf-8", "application/json", "text/csv; charset=utf-8"
_PAGES_KEPT = 20


class Pages:
    """What is served, by its path. `reports`: where the runs' logs and configurations are."""

    def __init__(self, store: Store, reports: Path):
        """Serve the runs of `store`."""
        self._store, self._reports = store, reports
        self._kept: dict[tuple[str, str | int], str] = {}

    def answer(self, path: str) -> tuple[str, str] | None:
        """Return the type and the text at a path, None when there is nothing."""
        words = [unquote(word) for word in urlsplit(path).path.split("/") if word]
        runs = self._store.list_runs()
        if words in ([], ["index.html"]):
            return _HTML, self._index(f"{runs['boots'].sum()} {runs['finished_at'].count()}")
        boots = dict(zip(runs["id"], runs["done"], strict=True))
        if words[0] == "latest" and boots:
            words[0] = str(runs["id"].iloc[-1])
        if words[0] not in boots or len(words) > 2:
            return None
        kinds: dict[str, Callable[[str], tuple[str, str]]] = {
            "index.html": lambda run: (_HTML, self._page(run, int(boots[run]))),
            "results.json": self._results,
            "samples.csv": self._samples,
        }
        kind = kinds.get(words[1] if len(words) == 2 else "index.html")
        return kind(words[0]) if kind else None

    def _index(self, state: str) -> str:
        """Return the index. The answers in it come from files, which are written with the index."""
        with contextlib.suppress(OSError):
            state += f" {(self._reports / 'index.html').stat().st_mtime_ns}"

        def render() -> str:
            return render_index(self._store, self._reports, served=True)

        return self._keep(("", state), render)

    def _page(self, run_id: str, boots: int) -> str:
        def render() -> str:
            return render_page(collect_report(self._store, run_id), self._reports / run_id)

        return self._keep((run_id, boots), render)

    def _keep(self, key: tuple[str, str | int], render: Callable[[], str]) -> str:
        if key not in self._kept:
            if len(self._kept) >= _PAGES_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = render()
        return self._kept[key]

    def _results(self, run_id: str) -> tuple[str, str]:
        document = as_document(collect_report(self._store, run_id))
        return _JSON, json.dumps(document, indent=1, default=str)

    def _samples(self, run_id: str) -> tuple[str, str]:
        return _CSV, self._store.samples_frame(run_id).to_csv(index=False)


def make_server(pages: Pages, host: str, port: int) -> HTTPServer:
    """Return a server that is bound, not yet serving. Port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "vmapbench"

        def do_GET(self) -> None:
            self._send(with_body=True)

        def do_HEAD(self) -> None:
            self._send(with_body=False)

        def _send(self, with_body: bool) -> None:
            try:
                found = pages.answer(self.path)
            except VmapbenchError as error:
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, explain=str(error))
                return
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = found[1].encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", found[0])
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing for each request."""

    return HTTPServer((host, port), Handler)
