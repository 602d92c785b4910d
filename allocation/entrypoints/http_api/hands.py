"""Threads for what blocks, so that the event loop never does.

Their number is fixed: a dependency that hangs keeps so many of them and no more, while calls go on
to be answered, with an error, when their time is over.
"""

from __future__ import annotations

import asyncio
from concurrent import futures
from typing import TYPE_CHECKING, TypeVar

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable

# What a call that keeps its own deadline gets beyond it, since its own error says more than ours.
LAST_WORD_S = 0.1

_T = TypeVar("_T")


class Hands:
    """So many threads that deal with one dependency; `whom` is its name in sentences."""

    def __init__(self, *, count: int, whom: str) -> None:
        self._whom = whom
        self._executor = futures.ThreadPoolExecutor(count, thread_name_prefix=whom)

    async def do(self, call: Callable[[], _T], *, deadline: float) -> _T:
        """Return what `call` returns; raises `DependencyDown` at the deadline (by the loop's clock).

        A call that waits for a thread until then is never made; one that was begun is left to itself.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._executor, call)
        except TimeoutError as error:
            problem = f"{self._whom} did not answer within {deadline - began:.2g} s"
            raise ports.DependencyDown(problem) from error

    def close(self) -> None:
        """Begin nothing more; does not wait for what hangs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
