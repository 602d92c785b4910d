"""The Kafka side of one shard of the relay without transactions: each row at least once.

Nothing is fenced, and no checkpoint is kept: after any error the rows are sent again, all of them, from the first
on. What a failed pass has left on a partition is always the beginning of what it was to send there, so that whoever
drops what he has had already gets the rest in order.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import confluent_kafka

from allocation.adapters.kafka import errors, relay_client
from allocation.service_layer import kill_points
from allocation.service_layer import ports as outside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer.relaying import checkpoints, ports

SEND_TIMEOUT_S = 15.0  # a pass takes 50 ms; a broker that restarts in between, some seconds


@contextlib.contextmanager
def open_log(config: clients.ClientConfig) -> Iterator[RelayIdempotently]:
    """Lend a log, which connects when it is first used."""
    log = RelayIdempotently(config)
    try:
        yield log
    finally:
        log.close()


class RelayIdempotently:
    """Implements `relaying.ports.Log`."""

    def __init__(self, config: clients.ClientConfig) -> None:
        self._servers = config.bootstrap_servers
        self._client = relay_client.RelayClient(
            config,
            action="relay",
            **{
                # A message that fails ends the client: none of those behind it may get there without it.
                "enable.gapless.guarantee": True,
                # For the same reason none is given up before the others, but all of them at once, here.
                "delivery.timeout.ms": 0,
            },
        )

    def last_checkpoint(self) -> None:
        """Return None: what was sent is known from the outbox alone."""

    def send(self, rows: Sequence[ports.Row], _checkpoint: checkpoints.Checkpoint) -> None:
        """Send the rows; returns once Kafka has confirmed all of them."""
        with self._client.translated() as producer:
            try:
                relay_client.produce(producer, rows)
            except confluent_kafka.KafkaException as exception:
                if errors.kafka_error(exception).code() == confluent_kafka.KafkaError._FATAL:  # noqa: SLF001 - the client's own
                    producer.flush(SEND_TIMEOUT_S)  # an earlier row has ended the client: only this tells why
                raise
            kill_points.reached("relay.after_produce")
            unconfirmed = producer.flush(SEND_TIMEOUT_S)
            self._client.check_delivered()
        if unconfirmed:
            msg = f"Kafka at {self._servers} has not confirmed {unconfirmed} messages within {SEND_TIMEOUT_S:g} s"
            raise outside.DependencyDown(msg)

    def close(self) -> None:
        """Drop what was not sent."""
        self._client.close()
