"""Subscribing to commands: the stand-in behaves as Redis does."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import redis

from allocation.adapters.redis import subscription
from allocation.service_layer import ports as outside
from tests.fakes import bridging as fakes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from allocation import devstack
    from allocation.service_layer.bridging import ports


class Server(Protocol):
    """What a test does with a server, real or not."""

    def subscribe(self, *channels: str) -> AbstractContextManager[ports.Subscription]: ...

    def publish(self, channel: str, payload: bytes) -> None: ...

    def go_down(self) -> None: ...


class RealServer:
    """The test's Redis; `go_down` cuts the connections of those that have subscribed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = redis.Redis.from_url(url)

    def subscribe(self, *channels: str) -> AbstractContextManager[ports.Subscription]:
        return subscription.subscribe(url=self._url, channels=channels)

    def publish(self, channel: str, payload: bytes) -> None:
        self._client.publish(channel, payload)

    def go_down(self) -> None:
        self._client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    def close(self) -> None:
        self._client.close()


@pytest.fixture(params=["fake", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "fake":
        yield fakes.FakeRedis()
        return
    endpoints: devstack.Endpoints = request.getfixturevalue("endpoints")
    with contextlib.closing(RealServer(endpoints.redis_url)) as server:
        yield server


@pytest.fixture
def channel() -> str:
    return f"allocate-{uuid.uuid4()}"


def test_what_is_published_since_the_subscription_arrives_in_order(server: Server, channel: str) -> None:
    with server.subscribe(channel, f"{channel}-more") as subscribed:
        server.publish(channel, b"1")
        server.publish(f"{channel}-other", b"not for us")
        server.publish(f"{channel}-more", b"\xff\0")
        found = [*subscribed.take(limit=1, timeout_s=5), *subscribed.take(limit=1, timeout_s=5)]

    assert found == [(channel, b"1"), (f"{channel}-more", b"\xff\0")]


def test_not_more_than_the_limit_is_taken_at_once(server: Server, channel: str) -> None:
    with server.subscribe(channel) as subscribed:
        for number in range(5):
            server.publish(channel, b"%d" % number)
        assert len(subscribed.take(limit=3, timeout_s=5)) <= 3


def test_a_large_message_arrives_whole(server: Server, channel: str) -> None:
    with server.subscribe(channel) as subscribed:
        server.publish(channel, b"x" * 5_000_000)

        assert subscribed.take(limit=1, timeout_s=5) == [(channel, b"x" * 5_000_000)]


def test_nothing_arrives_when_nothing_is_published(server: Server, channel: str) -> None:
    with server.subscribe(channel) as subscribed:
        assert list(subscribed.take(limit=10, timeout_s=0)) == []
        assert list(subscribed.take(limit=10, timeout_s=0.05)) == []


def test_draining_returns_what_was_published_before(server: Server, channel: str) -> None:
    with server.subscribe(channel) as subscribed:
        server.publish(channel, b"1")
        server.publish(channel, b"2")

        assert [published.payload for published in subscribed.drain()] == [b"1", b"2"]


def test_a_lost_connection_is_an_error_and_no_silence(server: Server, channel: str) -> None:
    with server.subscribe(channel) as subscribed:
        server.go_down()

        with pytest.raises(outside.DependencyDown):
            subscribed.take(limit=10, timeout_s=5)


def test_no_server_is_an_outage() -> None:
    with (
        pytest.raises(outside.DependencyDown, match="Connection refused"),
        subscription.subscribe(url="redis://127.0.0.1:1/0", channels=["allocate"]),
    ):
        pass
