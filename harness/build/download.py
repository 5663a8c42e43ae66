"""Fetches a release tarball over https into the cache: resumed where it was cut, checked by digest.

The digest says what is to come, so neither the server nor the way to it is trusted with that. https
is asked for all the same, after redirections as well: nobody on the way learns or delays less by it
than by http, and no server inside a lab's network is reached by a kernel file from elsewhere.
"""

import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from harness.build.cache import file_digest
from harness.errors import InfrastructureError, InputError

MOST_BYTES = 2 << 30  # a release of Linux has 150 MB
_CHUNK = 1 << 18
_SILENCE_S = 60.0  # without a byte
_EMPTY_TRIES = 3  # in a row that brought nothing
_SAY_EVERY_S = 2.0

Notify = Callable[[str], None]
"""Takes the name of a phase."""


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """Follow a redirection to https; see the base class."""
        if urlsplit(newurl).scheme != "https":
            raise InputError(f"{req.full_url} leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, sha256: str, path: Path, notify: Notify, pause_s: float = 2.0) -> None:
    """Make `path` the file at `url`, whose digest is `sha256`. What is there of it is kept.

    Bytes come to `path` with `.part` behind its name; cut off, they wait there for the next call.
    After `pause_s` seconds it is tried again as long as something comes. Raises InputError where
    the server has no such file or another one, InfrastructureError where it cannot be reached.
    """
    part, empty = path.with_name(f"{path.name}.part"), 0
    while not path.exists():
        before = _size(part)
        try:
            if _fetch(url, part, notify):
                _accept(url, sha256, part, path)
                return
            why = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(f"{url}: the server says {error.code} {error.reason}") from error
            why = f"the server says {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            why = _reason(error)
        empty = 0 if _size(part) > before else empty + 1
        if empty >= _EMPTY_TRIES:
            raise InfrastructureError(
                f"fetching {url}: {why}\n  {_size(part) >> 20} MiB are kept; the same command goes"
                " on from there"
            )
        notify(f"fetching the source: {why}, trying again")
        time.sleep(pause_s)


def _accept(url: str, sha256: str, part: Path, path: Path) -> None:
    """Give a complete file its name if it is the right one."""
    if (found := file_digest(part)) != sha256:
        part.unlink()
        raise InputError(
            f"{url}: sha256 is {found}, the kernel file expects {sha256}\n"
            "  next: compare with the digest that its publisher signs; what came was removed"
        )
    part.rename(path)


def _fetch(url: str, part: Path, notify: Notify) -> bool:
    """Append to `part` what is missing; return whether it is all there now."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310
    if have:
        request.add_header("Range", f"bytes={have}-")
    context = ssl.create_default_context()
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _HttpsOnly())
    try:
        answer = opener.open(request, timeout=_SILENCE_S)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True  # nothing lies behind what is there; the digest decides
        raise
    with answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        have = have if resumed else 0  # a server that knows no ranges starts over
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with part.open("ab" if resumed else "wb") as stream:
            said = 0.0
            while chunk := answer.read1(_CHUNK):
                stream.write(chunk)
                have += len(chunk)
                if have > MOST_BYTES:
                    raise InputError(f"{url}: over {MOST_BYTES >> 30} GiB, no release of Linux")
                if time.monotonic() - said > _SAY_EVERY_S:
                    said = time.monotonic()
                    of = f" of {total >> 20}" if total else ""
                    notify(f"fetching the source: {have >> 20}{of} MiB")
            os.fsync(stream.fileno())
    return total is None or have >= total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    return str(cause) or type(cause).__name__
