"""Who may call, and what a browser may do with the answers.

Guards that no other site can use the console through somebody's browser: a call must name the console (a name that
points here by DNS rebinding is none of its own; an address cannot be made to point elsewhere), and one that changes
something must bring the token in a header, come from the page itself, and be JSON. The page runs no script but its own.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from allocation.entrypoints.http_api import answers

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_TOKEN_LENGTH = 16

_CALLS = "/api/"
_OWN = "same-origin"
_SAFE = frozenset({"GET", "HEAD"})
_HEADERS = {
    # No `unsafe-inline`, no other origin, and no way from a text to markup.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware that lets only such calls pass; `token` None: nothing can be changed.

    `names` are those of the console, in lower case, beside localhost and the addresses of the machine.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], token: str | None) -> None:
        self._app = app
        self._names = frozenset(names) | {"localhost"}
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or say why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refused is None:
            await self._app(scope, receive, protected_send)
        else:
            await answers.problem(*refused)(scope, receive, protected_send)

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        name = _name(host)
        if name not in self._names and not _is_address(name):
            return 421, f"{host!r} is no name of this console; ALLOCATION_CONSOLE_ALLOWED_HOSTS can make it one"
        # A link to the page may stand anywhere; nobody else's page may make this one's calls, which cost something.
        if path.startswith(_CALLS) and headers.get("sec-fetch-site", _OWN) not in {_OWN, "none"}:
            return 403, "the call comes from another site"
        return None if method in _SAFE else self._of_change(host, headers)

    def _of_change(self, host: str, headers: Headers) -> tuple[int, str] | None:
        if self._token is None:
            return 403, "this console only shows; start it with --token or ALLOCATION_CONSOLE_TOKEN to change things"
        if headers.get("sec-fetch-site", _OWN) != _OWN:
            return 403, "the call comes from another site"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, f"the call comes from {origin!r}, which is another site"
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "send JSON, with Content-Type: application/json"
        if not hmac.compare_digest(headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()):
            return 401, "the token is missing or is another one"
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
