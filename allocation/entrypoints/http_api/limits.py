"""Refuse bodies that no command could fill, before they are held in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from allocation.entrypoints.http_api import answers

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The longest command is below 5 kB as JSON, even with every character of its ids escaped.
MAX_BODY_BYTES = 64 * 1024
_TOO_LARGE = 413
_MESSAGE = f"body: is larger than {MAX_BODY_BYTES} bytes"


class BodyLimit:
    """Middleware that answers 413 to a body above the limit, whether its length is announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on unless its body is, or turns out to be, too large."""
        announced = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if announced.isascii() and announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            await answers.problem(_TOO_LARGE, _MESSAGE)(scope, receive, send)
            return
        received = 0

        async def counting_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(_TOO_LARGE, _MESSAGE)
            return message

        await self._app(scope, counting_receive, send)
