"""What anyone could do who has the addresses: call the API, use Redis, read Kafka's topics."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from allocation import bootstrap
from allocation.adapters.redis import connections
from allocation.entrypoints.cli.story import telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import redis

    from allocation import config

# The API answers within 15 s; what it announces is on its topic soon after, on a small machine as well.
DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Of an HTTP call; the body is decoded where it is JSON."""

    status: int
    body: Any

    def __str__(self) -> str:
        return f"{self.status} {self.body if isinstance(self.body, str) else json.dumps(self.body)}"


@dataclass(frozen=True, slots=True)
class Api:
    """The HTTP API at one address."""

    url: str

    def post(self, path: str, body: Mapping[str, object]) -> Answer:
        """Call with a JSON body."""
        return self._call(path, json.dumps(body).encode())

    def get(self, path: str) -> Answer:
        """Read."""
        return self._call(path, None)

    def is_ready(self) -> bool:
        """Say whether it answers and has what it needs."""
        try:
            return self.get("/readyz").status == HTTPStatus.OK
        except OSError:
            return False

    def _call(self, path: str, body: bytes | None) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - our own address
            self.url + urllib.parse.quote(path), body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:  # noqa: S310 - likewise
                return Answer(answer.status, _decoded(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _decoded(error.read()))


def event(settings: config.Settings, topic: str, is_wanted: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
    """Read a topic from its beginning until an event's fields are wanted; return the record, decoded.

    Raises `StoryFailed` if there is none in time.
    """
    deadline = time.monotonic() + DEADLINE_S
    records = bootstrap.tail(
        settings, [topic], from_beginning=True, follow=True, stop=lambda: time.monotonic() > deadline
    )
    with contextlib.closing(records):
        for record in records:
            if record["value"] is not None and is_wanted(record["value"]):
                return record
    raise telling.StoryFailed(f"what should have come on the topic {topic} has not come within {DEADLINE_S:g} s")


@contextlib.contextmanager
def subscribed(client: redis.Redis, channel: str) -> Iterator[Callable[[], str]]:
    """Listen to a Redis channel; the function that is yielded waits for the next message and returns it as it is."""
    with client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(channel)
        subscription.get_message(timeout=DEADLINE_S)  # the confirmation: from now on nothing is missed
        yield lambda: _next_message(subscription, channel)


def has_subscribers(client: redis.Redis, channel: str) -> bool:
    """Say whether somebody listens to a Redis channel."""
    with connections.translated_errors():
        ((_, count),) = client.pubsub_numsub(channel)
    return bool(count)


def _next_message(subscription: redis.client.PubSub, channel: str) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while (left_s := deadline - time.monotonic()) > 0:
        message = subscription.get_message(timeout=left_s)
        if message is not None:
            data: bytes = message["data"]
            return data.decode()
    raise telling.StoryFailed(f"nothing has come on the Redis channel {channel} within {DEADLINE_S:g} s")


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
