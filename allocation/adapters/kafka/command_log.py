"""The command topics as someone sees them who sends single commands and waits for each.

For such a sender there is one kind of failure: Kafka did not take the command now. A topic that is
missing or a right that is not given is mended by an operator while the sender's process goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka import admin

from allocation.adapters.kafka import errors
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Collection

    from allocation.adapters.kafka import clients, producer
    from allocation.service_layer import messages


class CommandLog:
    """Sends commands through a producer; threads may share it."""

    def __init__(
        self, config: clients.ClientConfig, *, producer: producer.Producer, command_topics: Collection[str]
    ) -> None:
        self._servers = config.bootstrap_servers
        self._producer = producer
        self._topics = tuple(command_topics)
        self._admin = admin.AdminClient(config.admin())  # type: ignore[arg-type] # callbacks are fine, too

    def send(self, message: messages.OutboxMessage, *, timeout_s: float) -> producer.Delivered:
        """Block until the message is acknowledged and return where it lies.

        Raises `DependencyDown` when it was not within `timeout_s`; it may be taken all the same.
        """
        try:
            return self._producer.send(message, timeout_s=timeout_s)
        except errors.KafkaRefused as error:
            raise ports.DependencyDown(str(error)) from error

    def check(self, *, timeout_s: float) -> None:
        """Block until Kafka has described the command topics; raises `DependencyDown` when it has not in time."""
        asked = self._admin.describe_topics(
            confluent_kafka.TopicCollection(list(self._topics)), request_timeout=timeout_s
        )
        for topic, description in asked.items():
            try:
                description.result()
            except confluent_kafka.KafkaException as exception:
                error = errors.kafka_error(exception)
                found = errors.failure(f"describe topic {topic}", error, servers=self._servers)
                raise ports.DependencyDown(str(found)) from exception
