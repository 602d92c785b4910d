"""Wrap what came from Redis for its Kafka topic: a command, or a dead letter with the original bytes."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer.bridging import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation.service_layer import envelopes, topics
    from allocation.service_layer.bridging import ports

SOURCE = "allocation/redis"
MAX_DEAD_LETTER_BYTES = 900_000  # what a topic with Kafka's default limit (1 MiB) takes along with the headers
_NOT_IN_KAFKA = -1  # a message from Redis has no partition and no offset


class Intake:
    """Wraps for one installation; each message gets an identity of its own, here and only once."""

    def __init__(
        self,
        *,
        topics: topics.TopicNames,
        envelopes: envelopes.Envelopes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._record_names = {topics.allocate: "Allocate", topics.change_batch_quantity: "ChangeBatchQuantity"}
        self._envelopes = envelopes
        self._now = now

    @property
    def channels(self) -> tuple[str, ...]:
        """The Redis channels that commands come in on; they are called as the topics are."""
        return tuple(self._record_names)

    def wrap(self, published: ports.Published) -> tuple[messages.OutboxMessage, messages.Unreadable | None]:
        """Return the message to send, and what was wrong if it is a dead letter."""
        identity = messages.MessageId(SOURCE, str(uuid.uuid4()))
        command = reading.read(self._record_names[published.channel], published.payload)
        if isinstance(command, messages.Unreadable):
            return self._dead_letter(published, identity, command), command
        return self._envelopes.command(command, id=identity, time=self._now()), None

    def _dead_letter(
        self, published: ports.Published, identity: messages.MessageId, why: messages.Unreadable
    ) -> messages.OutboxMessage:
        record = messages.Record(
            topic=f"redis:{published.channel}",
            topic_id="",
            partition=_NOT_IN_KAFKA,
            offset=_NOT_IN_KAFKA,
            leader_epoch=_NOT_IN_KAFKA,
            key=None,
            value=published.payload[:MAX_DEAD_LETTER_BYTES],
            headers=(),
            timestamp_ms=int(self._now().timestamp() * 1000),
        )
        message = messages.Message(record=record, id=identity, attempt=messages.FIRST_ATTEMPT, digest=b"", command=why)
        return self._envelopes.dead_letter(message, reason=why.reason, error=why.error + _cut(published.payload))


def _cut(payload: bytes) -> str:
    if len(payload) <= MAX_DEAD_LETTER_BYTES:
        return ""
    return f" (only the first {MAX_DEAD_LETTER_BYTES} of its {len(payload)} bytes are kept)"
