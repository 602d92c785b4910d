"""What lives between the API's start-up and its shutdown, for the routes to use."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from allocation.entrypoints.http_api import hands, submitting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import fastapi

    from allocation.entrypoints.http_api import parts, waiting
    from allocation.entrypoints.observing import readiness

_T = TypeVar("_T")

# One connection each, fewer than the pool has; a read takes a millisecond.
DATABASE_HANDS = 10
# Each waits for Kafka's acknowledgement, some milliseconds: ten thousand a second.
KAFKA_HANDS = 64


class Running:
    """One running API; belongs to its event loop."""

    def __init__(self, api: parts.Parts, waiters: waiting.Waiters) -> None:
        self.timeout_s = api.timeout_s
        self._api = api
        self._database = hands.Hands(count=DATABASE_HANDS, whom="the database")
        self._kafka = hands.Hands(count=KAFKA_HANDS, whom="Kafka")
        self.submitter = submitting.Submitter(api, waiters, database=self._database, kafka=self._kafka)

    async def read(self, call: Callable[[parts.Reads], _T]) -> _T:
        """Read from the database; raises `DependencyDown` when that takes too long."""
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        return await self._database.do(lambda: call(self._api.reads), deadline=deadline)

    def look(self) -> readiness.Answer:
        """Say how those are that the API needs; blocks for a few seconds at most."""
        return self._api.look()

    def close(self) -> None:
        """Begin nothing more."""
        self._database.close()
        self._kafka.close()


@contextlib.contextmanager
def opened(api: parts.Parts, waiters: waiting.Waiters) -> Iterator[Running]:
    """Run the API's threads until the block ends."""
    with waiters.running(), contextlib.closing(Running(api, waiters)) as running:
        yield running


def of(request: fastapi.Request) -> Running:
    """Return what serves this call."""
    running: Running = request.state.running
    return running
