"""One request to one address. Redirects are errors: neither secret nor notice goes elsewhere."""

import urllib.request
from http.client import HTTPResponse
from typing import cast


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing: the answer becomes an HTTPError."""


def open_once(
    request: urllib.request.Request, *, timeout_s: float, proxies: bool = True
) -> HTTPResponse:
    """Send `request` and return the answer, to be closed.

    `proxies`: whether those of the environment are used. Raises HTTPError for a redirect and for
    any status that is an error, else what urllib raises (OSError, ValueError).
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if not proxies:
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    return cast("HTTPResponse", opener.open(request, timeout=timeout_s))
