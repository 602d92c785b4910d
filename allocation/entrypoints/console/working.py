"""The threads that do what the page asks for, so that figures go on meanwhile; few, to spare the services."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from allocation.entrypoints.cli import failures
from allocation.entrypoints.http_api import hands

if TYPE_CHECKING:
    from collections.abc import Callable

    import fastapi

    from allocation.entrypoints.console import operations

_SOON_S = 10.0
# Topics and tables may be long; who cannot wait uses the command line.
_AT_LENGTH_S = 120.0


class Working:
    """The threads of one console."""

    def __init__(self, asked: operations.Operations) -> None:
        self._asked = asked
        self._quick = hands.Hands(count=4, whom="the database or Kafka")
        self._long = hands.Hands(count=2, whom="reading the topics or tables")

    async def soon(self, call: Callable[[operations.Operations], operations.Values]) -> operations.Values:
        """Do what takes a moment; raises `HTTPException` with a sentence where that cannot be done."""
        return await self._do(self._quick, call, _SOON_S)

    async def at_length(self, call: Callable[[operations.Operations], operations.Values]) -> operations.Values:
        """Do what may take long; raises `HTTPException`."""
        return await self._do(self._long, call, _AT_LENGTH_S)

    async def _do(
        self, those: hands.Hands, call: Callable[[operations.Operations], operations.Values], patience_s: float
    ) -> operations.Values:
        deadline = asyncio.get_running_loop().time() + patience_s
        try:
            return await those.do(lambda: call(self._asked), deadline=deadline)
        except Exception as error:
            failure = failures.explain(error)
            if failure is None:
                raise
            status = 422 if failure.status == failures.USER_ERROR else 503
            raise HTTPException(status, failure.sentence) from error

    def close(self) -> None:
        """Begin nothing more."""
        self._quick.close()
        self._long.close()


def of(request: fastapi.Request) -> Working:
    """Return what serves this call."""
    found: Working = request.state.working
    return found
