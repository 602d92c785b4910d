"""The channels that commands come in on.

A subscription exists once the server has confirmed every channel: what is published after that
arrives. It ends with the connection; there is no second one behind it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from allocation.adapters.redis import connections
from allocation.service_layer import ports as outside
from allocation.service_layer.bridging import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Subscription:
    """Implements `bridging.ports.Subscription`."""

    def __init__(self, pubsub: Any) -> None:
        self._pubsub = pubsub  # a PubSub; the library gives no types for half of its methods

    def take(self, *, limit: int, timeout_s: float) -> Sequence[ports.Published]:
        """Wait for a message, and return it with what else has arrived."""
        taken: list[ports.Published] = []
        deadline = time.monotonic() + timeout_s
        with connections.translated_errors():
            while len(taken) < limit:
                wait_s = 0.0 if taken else max(0.0, deadline - time.monotonic())
                if not self._can_read(wait_s):
                    break
                taken.extend(_published(self._read()))
        return taken

    def drain(self) -> Sequence[ports.Published]:
        """Unsubscribe, and return what had been published before."""
        taken: list[ports.Published] = []
        with connections.translated_errors():
            self._pubsub.unsubscribe()
            while self._pubsub.subscribed:
                taken.extend(_published(self._read()))
        return taken

    def confirm(self, channels: Sequence[str]) -> None:
        """Subscribe, and wait until the server says that it has."""
        with connections.translated_errors():
            self._pubsub.subscribe(*channels)
            for _ in channels:
                self._read()

    def _can_read(self, wait_s: float) -> bool:
        return bool(self._pubsub.connection.can_read(timeout=wait_s))

    def _read(self) -> Any:
        """Return the next answer. The time-out is for the rest of it: the beginning of a large one may come alone."""
        answer = self._pubsub.get_message(timeout=connections.TIMEOUT_S)
        if answer is None:
            msg = f"Redis was silent for {connections.TIMEOUT_S:.0f} s when it should have answered"
            raise outside.DependencyDown(msg)
        return answer


@contextlib.contextmanager
def subscribe(*, url: str, channels: Sequence[str]) -> Iterator[Subscription]:
    """Subscribe to these channels until the block is left. Raises `DependencyDown`."""
    with connections.connect(url) as client, _untyped(client).pubsub() as pubsub:
        subscription = Subscription(pubsub)
        subscription.confirm(channels)
        yield subscription


def _untyped(value: Any) -> Any:
    return value


def _published(answer: Any) -> Iterator[ports.Published]:
    if answer["type"] == "message":
        yield ports.Published(answer["channel"].decode(), answer["data"])
