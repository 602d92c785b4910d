"""The running compose stack, seen from outside; `make compose-test` starts it and runs these tests."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest
import redis
from redis.client import PubSub

from tests.containers import events, system

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def unique() -> str:
    """A suffix for names: the stack keeps what earlier runs have left in it."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
def kafka_events() -> Iterator[events.Reader]:
    """The events on Kafka from now on."""
    topics = ("line_allocated", "line_deallocated", "out_of_stock")
    with events.reading(*topics, bootstrap_servers=system.KAFKA, registry_url=system.REGISTRY_URL) as reader:
        yield reader


@pytest.fixture
def redis_client() -> Iterator[redis.Redis]:
    """An ordinary client of the compatibility side."""
    with redis.Redis.from_url(system.REDIS_URL, decode_responses=True) as client:
        yield client


@pytest.fixture
def redis_events(redis_client: redis.Redis) -> Iterator[PubSub]:
    """What is published on Redis from now on."""
    with contextlib.closing(PubSub(redis_client.connection_pool)) as subscription:
        subscription.subscribe("line_allocated")
        # The confirmation: from here on nothing is missed.
        assert subscription.get_message(timeout=events.DEADLINE_S) is not None
        yield subscription
