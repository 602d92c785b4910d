"""Put commands, events and dead letters into the messages that carry them.

CloudEvents 1.0, Kafka protocol binding, binary mode, with W3C trace context. What goes out for an
event depends on its cause alone: the same cause gives the same bytes after any crash or replay.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from allocation.domain import commands
from allocation.service_layer import external_events, messages, traces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import ports, topics

EVENT_SOURCE = "allocation"
_NAMESPACE_BYTES = uuid.uuid5(uuid.NAMESPACE_URL, "https://example.com/allocation/events").bytes
_VARIANTS = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}  # the two highest bits are 10
_EVENT_SOURCE = (messages.CE_SOURCE, EVENT_SOURCE.encode())
_SPECVERSION = (messages.CE_SPECVERSION, b"1.0")
_CONTENT_TYPE = (messages.CONTENT_TYPE, b"application/avro")  # without it readers take the data for JSON


class Cause(NamedTuple):
    """The attempt at a command that made something happen, at `time` (UTC)."""

    message: messages.Message
    time: datetime


class _Kind(NamedTuple):
    """What all events of one type share."""

    name: str
    topic: str
    type_header: tuple[str, bytes]
    fields: Sequence[str]


class Envelopes:
    """Wraps for one installation; may be shared between threads."""

    def __init__(self, *, topics: topics.TopicNames, serializer: ports.Serializer) -> None:
        self._command_topics = topics.commands
        self._kinds = {kind: _kind(kind, topics.events[kind.__name__]) for kind in external_events.KINDS}
        self._dead_letter_topic = topics.dead_letter
        self._serializer = serializer

    def command(
        self,
        command: commands.Command,
        *,
        id: messages.MessageId,  # noqa: A002 - CloudEvents' word
        time: datetime,
        no_grace: bool = False,
        traceparent: str | None = None,
    ) -> messages.OutboxMessage:
        """Wrap a command for its topic, keyed by sku, or by batch reference where the sku is unknown."""
        return self.fields(
            type(command).__name__,
            command_fields(command),
            id=id,
            time=time,
            no_grace=no_grace,
            traceparent=traceparent,
        )

    def fields(
        self,
        record_name: str,
        fields: Mapping[str, Any],
        *,
        id: messages.MessageId,  # noqa: A002 - CloudEvents' word
        time: datetime,
        no_grace: bool = False,
        traceparent: str | None = None,
    ) -> messages.OutboxMessage:
        """Wrap a command that is given by its fields as they are called outside, whether it is valid or not.

        Raises ValueError or TypeError for what the schema cannot hold.
        """
        headers = [
            (messages.CE_ID, id.id.encode()),
            (messages.CE_SOURCE, id.source.encode()),
            (messages.CE_TYPE, f"allocation.{record_name}".encode()),
            (messages.CE_TIME, _rfc3339(time)),
            _SPECVERSION,
            _CONTENT_TYPE,
            (messages.TRACEPARENT, (traceparent or traces.begin()).encode()),
        ]
        if no_grace:
            headers.append((messages.NO_GRACE, b"1"))
        return messages.OutboxMessage(
            topic=self._command_topics[record_name],
            key=routing_key(fields).encode(),
            value=self._serializer.serialize(record_name, fields),
            headers=tuple(headers),
        )

    def event(
        self, event: external_events.ExternalEvent, *, cause: Cause, ordinal: int, sequence: int
    ) -> messages.OutboxMessage:
        """Wrap the `ordinal`-th event of its cause, `sequence`-th of its sku."""
        kind = self._kinds[type(event)]
        message, time = cause
        event_id = _event_id(message, ordinal)
        headers = (
            (messages.CE_ID, event_id),
            _EVENT_SOURCE,
            kind.type_header,
            (messages.CE_TIME, _rfc3339(time)),
            _SPECVERSION,
            _CONTENT_TYPE,
            (messages.CE_SEQUENCE, b"%d" % sequence),
            (messages.CE_CAUSATIONID, message.id.id.encode()),
            (messages.TRACEPARENT, traces.of_event(message, event_id)),
        )
        value = self._serializer.serialize(kind.name, {field: getattr(event, field) for field in kind.fields})
        sku = event.sku
        return messages.OutboxMessage(kind.topic, sku.encode(), value, headers, sku)

    def dead_letter(
        self,
        message: messages.Message,
        *,
        reason: str,
        error: str,
        error_class: str = "",
        stack: str = "",
        time: datetime | None = None,
    ) -> messages.OutboxMessage:
        """Wrap a refused message as it came, with the reason added to its headers.

        The topic's id is there too: for a message without one of its own, it is a part of its identity.
        """
        record = message.record
        more = {
            "dead_letter_class": error_class.encode(),
            "dead_letter_stack": stack.encode(),
            "dead_letter_time": _rfc3339(time) if time else b"",
            "dead_letter_topic_id": record.topic_id.encode(),
        }
        headers = (
            *(header for header in record.headers if not header[0].startswith("dead_letter_")),
            *(header for header in more.items() if header[1]),
            ("dead_letter_reason", reason.encode()),
            ("dead_letter_error", error.encode(errors="backslashreplace")),
            ("dead_letter_topic", record.topic.encode()),
            ("dead_letter_partition", b"%d" % record.partition),
            ("dead_letter_offset", b"%d" % record.offset),
            ("dead_letter_attempt", b"%d" % message.attempt),
        )
        return messages.OutboxMessage(
            topic=self._dead_letter_topic,
            key=record.key,
            value=record.value,
            headers=headers,
            sku=getattr(message.command, "sku", None),
        )


def _kind(event_type: type, topic: str) -> _Kind:
    name = event_type.__name__
    fields = tuple(field.name for field in dataclasses.fields(event_type))
    return _Kind(name, topic, (messages.CE_TYPE, f"allocation.{name}".encode()), fields)


def routing_key(fields: Mapping[str, Any]) -> str:
    """Return the key that sends a command to its partition: the sku where it is known, else the batch reference."""
    sku = fields["sku"]
    return str(fields["batchref"] if sku is None else sku)


def command_fields(command: commands.Command) -> dict[str, object]:
    """Return a command's fields as they are called outside."""
    match command:
        case commands.CreateBatch(ref, sku, qty, eta):
            return {"ref": ref, "sku": sku, "qty": qty, "eta": eta}
        case commands.Allocate(orderid, sku, qty):
            return {"orderid": orderid, "sku": sku, "qty": qty}
        case commands.ChangeBatchQuantity(ref, qty, sku):
            return {"batchref": ref, "qty": qty, "sku": sku}
        case _:
            assert_never(command)


@functools.lru_cache(maxsize=4)  # all events of a micro-batch have the same time
def _rfc3339(time: datetime) -> bytes:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def _event_id(message: messages.Message, ordinal: int) -> bytes:
    """Return a UUIDv5 as RFC 9562 (section 5.5) makes it, without the detour over `uuid.UUID`."""
    source, name = message.id
    # The length tells where the source ends, whatever characters either holds.
    cause = f"{len(source)}\n{source}\n{name}\n{message.attempt}\n{ordinal}"
    digits = hashlib.sha1(_NAMESPACE_BYTES + cause.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}".encode()
