"""Release tarballs over a real https server that cuts, forgets and lies."""

import hashlib
import http.server
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from harness.build.cache import Cache
from harness.build.download import download
from harness.build.source import ensure_source, pin_source
from harness.errors import InfrastructureError, InputError
from harness.process import SubprocessRunner
from harness.spec.document import parse_document
from harness.spec.kernel import KernelSpec, UrlSource

DATA = bytes(range(256)) * 4096


class Server(http.server.ThreadingHTTPServer):
    """Serves `data`. `cuts`: bytes after which each answer in turn ends."""

    def __init__(self, context: ssl.SSLContext | None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cuts, self.ranges, self.location = DATA, list[int](), True, ""
        self.asked: list[str | None] = []
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request, client_address):  # the client hung up
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append(wanted)
        if self.path == "/none":
            self.send_error(404)
            return
        if server.location:
            self.send_response(302)
            self.send_header("Location", server.location)
            self.end_headers()
            return
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        if start and start >= len(server.data):
            self.send_error(416)
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "key.pem"]
    argv += ["-addext", "subjectAltName=DNS:localhost", "-out", "cert.pem"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def server(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with Server(context) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def fetch(server, path: Path, sha256=None, name="linux.tar.xz", told=None):
    url = f"https://localhost:{server.server_port}/{name}"
    sha256 = sha256 or hashlib.sha256(DATA).hexdigest()
    download(url, sha256, path, (told if told is not None else []).append, pause_s=0)


def test_a_file_comes_whole_with_progress(server, tmp_path):
    told: list[str] = []
    fetch(server, tmp_path / "x", told=told)
    assert (tmp_path / "x").read_bytes() == DATA
    assert told
    assert told[0].startswith("fetching the source: ")
    assert told[0].endswith(" of 1 MiB")
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_what_was_cut_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [300_000, 200_000]
    told: list[str] = []
    fetch(server, tmp_path / "x", told=told)
    assert (tmp_path / "x").read_bytes() == DATA
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert any("the connection was cut, trying again" in line for line in told)


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.cuts, server.ranges = [300_000], False
    fetch(server, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_nothing_that_comes_ends_it_and_keeps_what_is_there(server, tmp_path):
    server.cuts = [2 << 20 >> 2, 0, 0, 0]
    with pytest.raises(InfrastructureError, match=r"cut\n  next: run the same .* after the 0 MiB"):
        fetch(server, tmp_path / "x")
    assert (tmp_path / "x.part").stat().st_size == 1 << 19
    fetch(server, tmp_path / "x")
    assert server.asked[-1] == f"bytes={1 << 19}-"
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_whole_file_that_was_not_renamed_is_taken(server, tmp_path):
    (tmp_path / "x.part").write_bytes(DATA)
    fetch(server, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA


def test_another_file_is_removed_and_refused(server, tmp_path):
    with pytest.raises(InputError, match="sha256 is .* the kernel file expects 0000"):
        fetch(server, tmp_path / "x", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_said_to_be_so_at_once(server, tmp_path):
    with pytest.raises(InputError, match="the server says 404"):
        fetch(server, tmp_path / "x", name="none")
    assert len(server.asked) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InfrastructureError, match="certificate verify failed"):
        fetch(server, tmp_path / "x")
    assert server.asked == []


def test_https_stays_https(server, tmp_path):
    with Server(None) as plain:
        server.location = f"http://127.0.0.1:{plain.server_port}/x"
        with pytest.raises(InputError, match="which is not https"):
            fetch(server, tmp_path / "x")
        assert plain.asked == []


def test_a_kernel_takes_its_source_from_a_url_once(
    server, toy, cache: Cache, runner: SubprocessRunner, kernels: Path
):
    server.data = (kernels / "toy.tar.xz").read_bytes()
    url = f"https://localhost:{server.server_port}/toy.tar.xz"
    digest = hashlib.sha256(server.data).hexdigest()
    pinned = pin_source(toy(source=UrlSource(url=url, sha256=digest)), cache, runner)
    assert server.asked == []  # --dry-run fetches nothing
    told: list[str] = []
    for _ in range(2):
        folder = ensure_source(pinned, cache, told.append)
        assert (folder / "mm/vmalloc.c").is_file()
    assert len(server.asked) == 1
    assert told[-1] == "unpacking the source"
    assert list((cache.folder / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [
        '{url: "http://host/linux.tar.xz", sha256: %s}' % ("0" * 64),
        '{url: "https://me:secret@host/linux.tar.xz", sha256: %s}' % ("0" * 64),
        '{url: "https://host/linux.tar.xz"}',
        '{url: "https://host/linux.tar.xz", sha256: 12}',
    ],
)
def test_what_is_no_such_source_is_refused(source, tmp_path):
    text = f"version: 1\nsource: {source}\n"
    with pytest.raises(InputError, match=r"k\.yaml:2: source"):
        parse_document(text, KernelSpec, "k.yaml", name="k", folder=str(tmp_path))
