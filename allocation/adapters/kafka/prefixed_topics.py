"""Send what a rebuild would announce to topics with a prefix of their own, to be looked at.

Each message goes out after the transaction that it belongs to; cut short, a rebuild may have sent less than it did.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.kafka import producer, topic_specs, topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages


class PrefixedTopics:
    """See `rebuilding_ports.Outbound`."""

    def __init__(self, client: producer.Producer, *, targets: Mapping[str, str]) -> None:
        self._producer = client
        self._targets = targets

    def before_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> Iterable[messages.OutboxMessage]:
        """Put nothing into the outbox."""
        del outgoing
        return ()

    def after_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Send what belongs to one of the topics; returns once Kafka has it."""
        self._producer.send_all(
            one._replace(topic=self._targets[one.topic]) for one in outgoing if one.topic in self._targets
        )


@contextlib.contextmanager
def open_topics(
    config: clients.ClientConfig, *, prefix: str, names: Iterable[str], replicas: int
) -> Iterator[PrefixedTopics]:
    """Create topics like these with a prefix before their names, and open them."""
    admin = topics.TopicAdmin(config)
    described = admin.describe(names)
    admin.create(
        topic_specs.TopicSpec(f"{prefix}{name}", found.partitions, replicas, {}) for name, found in described.items()
    )
    with producer.Producer(config) as client:
        yield PrefixedTopics(client, targets={name: f"{prefix}{name}" for name in described})
