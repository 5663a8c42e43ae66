"""Downloads a release tarball over https into the cache, resumable and checked by its digest.

Because of the digest neither the server nor the network has to be trusted with the content. https
is required nevertheless, after redirects as well, so that a kernel file from elsewhere cannot reach
http servers inside a lab's network.
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
_EMPTY_TRIES = 3  # in a row without any data
_SAY_EVERY_S = 2.0

Notify = Callable[[str], None]
"""Receives the name of a phase."""


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        """Follow a redirect to https only. Raises InputError for another."""
        if urlsplit(newurl).scheme != "https":
            raise InputError(f"{req.full_url} leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, sha256: str, path: Path, notify: Notify, pause_s: float = 2.0) -> None:
    """Download `url` to `path` and check its digest `sha256`; an earlier part is resumed.

    Data is written to `path` + `.part`, which stays there after an interruption. It is retried
    after `pause_s` seconds as long as data arrives. Raises InputError if the server has no such
    file or a different one, InfrastructureError if it cannot be reached.
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
                f"fetching {url}: {why}\n  next: run the same command again, which continues after"
                f" the {_size(part) >> 20} MiB that were kept"
            )
        notify(f"fetching the source: {why}, trying again")
        time.sleep(pause_s)


def _accept(url: str, sha256: str, part: Path, path: Path) -> None:
    """Rename a complete download to `path` if its digest is right. Raises InputError otherwise."""
    if (found := file_digest(part)) != sha256:
        part.unlink()
        raise InputError(
            f"{url}: sha256 is {found}, the kernel file expects {sha256}\n"
            "  next: compare with the digest that its publisher signs; the download was removed"
        )
    part.rename(path)


def _fetch(url: str, part: Path, notify: Notify) -> bool:
    """Append what is missing to `part`; return whether it is complete."""
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
            return True  # nothing follows; the digest decides
        raise
    with answer:
        resumed = answer.status == http.client.PARTIAL_CONTENT
        have = have if resumed else 0  # a server without ranges starts again
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
