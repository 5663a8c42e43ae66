"""A series that b4 fetches, from a server on this machine that answers as a public-inbox does."""

import gzip
import http.server
import threading
from urllib.parse import unquote

import pytest

from harness.errors import ToolError
from harness.nightly.candidates import fetch_series
from tests.flow.workplace import DIFF

MAIL = b"""From mboxrd@z Thu Jan  1 00:00:00 1970
From: A <a@b.example>
Subject: [PATCH v2 1/1] mm/vmalloc: Return two
Date: Tue, 02 Jan 2024 19:46:33 +0100
Message-ID: <one@b.example>

Why.
---
"""
MAIL += DIFF.format(value=2).encode()


@pytest.fixture
def archive():
    """The address of a web server that has one thread."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = unquote(self.path) == "/all/one@b.example/t.mbox.gz"
            body = gzip.compress(MAIL) if known else b"no such message"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/gzip" if known else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815 the server's own names

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/all"
    server.shutdown()
    thread.join()
    server.server_close()


def test_b4_fetches_the_thread_of_a_mail(archive, runner):
    series = fetch_series("one@b.example", archive, runner)
    assert (series.title, series.version) == ("mm/vmalloc: Return two", 2)
    assert series.message_id == "one@b.example"
    with pytest.raises(ToolError, match="b4 could not fetch two@b"):
        fetch_series("two@b.example", archive, runner)
