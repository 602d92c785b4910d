"""The commands that are sent, made beforehand and the same in every run: the i-th order, for a sku by some pattern."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from allocation import bootstrap
from allocation.adapters.kafka import producer as kafka_producer
from allocation.domain import commands
from allocation.service_layer import envelopes, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from allocation import config

SOURCE = "bench"
_SEED = 1


def uniform(count: int, *, skus: int) -> Iterator[str]:
    """Yield so many skus, each of the `skus` equally often."""
    chance = random.Random(_SEED)
    return (sku(chance.randrange(skus)) for _ in range(count))


def zipf(count: int, *, skus: int, exponent: float = 1.0) -> Iterator[str]:
    """Yield so many skus, the n-th most frequent one 1/n as often as the first."""
    weights = [1 / rank**exponent for rank in range(1, skus + 1)]
    return map(sku, random.Random(_SEED).choices(range(skus), weights, k=count))


def one_sku(count: int) -> Iterator[str]:
    """Yield the same sku so many times."""
    return (sku(0) for _ in range(count))


def sku(number: int) -> str:
    """Return the name that `seeding` gives to a sku."""
    return f"sku-{number:04}"


def allocations(settings: config.Settings, skus: Iterable[str]) -> list[messages.OutboxMessage]:
    """Return an `Allocate` of one piece for each of these skus, ready to be sent."""
    return wrap(settings, (commands.Allocate(f"order-{number:07}", sku, 1) for number, sku in enumerate(skus)))


def wrap(settings: config.Settings, wanted: Iterable[commands.Command]) -> list[messages.OutboxMessage]:
    """Return the messages of commands."""
    now = datetime.now(UTC)
    with bootstrap.database(settings) as engine, bootstrap.serde(settings, engine) as serde:
        wrapping = envelopes.Envelopes(topics=bootstrap.topic_names(settings), serializer=serde)
        return [wrapping.command(one, id=messages.MessageId(SOURCE, str(uuid.uuid4())), time=now) for one in wanted]


def send(settings: config.Settings, outgoing: Sequence[messages.OutboxMessage]) -> None:
    """Put messages on Kafka, and wait until all are acknowledged."""
    with kafka_producer.Producer(bootstrap.kafka_clients(settings)) as producer:
        sent = producer.send_all(outgoing)
    assert sent == len(outgoing)
