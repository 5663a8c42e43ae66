"""A single HTTP request. Redirects are errors, so that no secret or notice goes elsewhere."""

import urllib.request
from http.client import HTTPResponse
from typing import cast


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow no redirect; urllib then raises HTTPError."""


def open_once(
    request: urllib.request.Request, *, timeout_s: float, proxies: bool = True
) -> HTTPResponse:
    """Send `request` and return the response, which the caller closes.

    `proxies`: whether to use those of the environment. Raises HTTPError for a redirect or an error
    status, otherwise what urllib raises (OSError, ValueError).
    """
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if not proxies:
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    return cast("HTTPResponse", opener.open(request, timeout=timeout_s))
