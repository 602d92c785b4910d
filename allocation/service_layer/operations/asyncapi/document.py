"""Put schemas, handlers and topics together as an AsyncAPI 3.0 document, with its Kafka bindings.

See the AsyncAPI specification 3.0.0 and its Kafka bindings 0.5.0. From the application's view: it
receives commands and sends all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import allocation
from allocation.domain import events
from allocation.service_layer import handlers
from allocation.service_layer.operations.asyncapi import headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from allocation.service_layer import topics

_BINDING = {"bindingVersion": "0.5.0"}
_AVRO_FORMAT = "application/vnd.apache.avro;version=1.9.0"
_INFO = (
    "Decides which batch of stock serves which order line. Values are Avro in the Confluent wire format, keyed by sku "
    "and partitioned by murmur2. Read with isolation.level=read_committed."
)
_SKU = {"type": "string", "description": "The sku."}
_SKU_OR_BATCHREF = {"type": "string", "description": "The sku; the batchref where the sender does not know it."}

_ANNOUNCED: Mapping[str, type] = {
    "LineAllocated": events.Allocated,
    "LineDeallocated": events.Deallocated,
    "OutOfStock": events.OutOfStock,
}

NULL_COMMAND = "A null is no command: it becomes a dead letter with the reason null_value, and deletes nothing."
NULL_EVENT = "Never null: what was announced is never taken back; someone else's null is passed over."
NULL_DEAD_LETTER = "A null is the value of a refused message that was null itself; it settles no other dead letter."
NULL_JOURNAL = "Never null."

_JOURNAL_ROW = {
    "type": "object",
    "required": ["number", "handled_at", "version", "entries"],
    "properties": {
        "number": {"type": "integer", "description": "Its place in the journal; the message's key, too."},
        "handled_at": {"type": "string", "format": "date-time"},
        "version": {"type": "string", "description": "Of the code that handled it."},
        "entries": {
            "type": "array",
            "description": "Runs of records in the order of handling.",
            "items": {
                "type": "array",
                "description": "What became of them, topic, partition, first offset, last offset.",
                "items": [{"type": "string"}, {"type": "string"}, *[{"type": "integer"}] * 3],
            },
        },
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the document says of one installation.

    `servers` are host:port; `registry_url` has no credentials; `bindings` are the Kafka channel bindings by topic;
    `definitions` the Avro schemas, parsed, by record name.
    """

    names: topics.TopicNames
    definitions: Mapping[str, Mapping[str, Any]]
    servers: Sequence[str]
    registry_url: str
    group: str
    bindings: Mapping[str, Mapping[str, Any]]


def document(installation: Installation) -> dict[str, Any]:
    """Return the document; everything in it is JSON."""
    parts = [*_records(installation), _dead_letter(installation), _journal(installation)]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Allocation", "version": allocation.__version__, "description": _INFO},
        "defaultContentType": headers.AVRO,
        "servers": {f"kafka{number or ''}": _server(host, installation) for number, host in _numbered(installation)},
        "channels": {part.channel: part.as_channel(installation) for part in parts},
        "operations": {part.operation: part.as_operation() for part in parts},
        "components": {"messages": {part.message: part.content for part in parts}},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A topic with its one kind of message, and what this service does there."""

    channel: str
    topic: str
    description: str
    message: str
    content: dict[str, Any]
    operation: str
    summary: str
    group: str | None = None

    def as_channel(self, installation: Installation) -> dict[str, Any]:
        return {
            "address": self.topic,
            "description": self.description,
            "messages": {self.message: {"$ref": f"#/components/messages/{self.message}"}},
            "bindings": {"kafka": {**installation.bindings[self.topic], **_BINDING}},
        }

    def as_operation(self) -> dict[str, Any]:
        group = {} if self.group is None else {"groupId": {"type": "string", "const": self.group}}
        return {
            "action": "send" if self.group is None else "receive",
            "channel": {"$ref": f"#/channels/{self.channel}"},
            "messages": [{"$ref": f"#/channels/{self.channel}/messages/{self.message}"}],
            "summary": self.summary,
            "bindings": {"kafka": {**group, **_BINDING}},
        }


def _records(installation: Installation) -> list[_Part]:
    names = installation.names
    handled = {command.__name__: handler for command, handler in handlers.COMMAND_HANDLERS.items()}
    received = [
        _record(installation, name, topic, handler=handled[name], group=installation.group)
        for name, topic in names.commands.items()
    ]
    sent = [
        _record(installation, name, topic, handler=handlers.EVENT_HANDLERS[_ANNOUNCED[name]][0])
        for name, topic in names.events.items()
    ]
    return received + sent


def _record(
    installation: Installation, name: str, topic: str, *, handler: Callable[..., Any], group: str | None = None
) -> _Part:
    definition = installation.definitions[name]
    is_command = group is not None
    key = _SKU_OR_BATCHREF if name == "ChangeBatchQuantity" else _SKU
    kafka = {"key": key, "schemaIdLocation": "payload", "schemaIdPayloadEncoding": "confluent"}
    content = {
        "name": name,
        "title": name,
        "summary": definition["doc"],
        "contentType": headers.AVRO,
        "headers": headers.of_command(name) if is_command else headers.of_event(name),
        "payload": {"schemaFormat": _AVRO_FORMAT, "schema": dict(definition)},
        "bindings": {"kafka": {**kafka, "schemaLookupStrategy": "TopicNameStrategy", **_BINDING}},
    }
    return _Part(
        channel=topic.removeprefix(installation.names.prefix),
        topic=topic,
        description=NULL_COMMAND if is_command else NULL_EVENT,
        message=name,
        content=content,
        operation=handler.__name__,
        summary=_first_line(handler),
        group=group,
    )


def _dead_letter(installation: Installation) -> _Part:
    content = {
        "name": "DeadLetter",
        "title": "Dead letter",
        "summary": "A message that was refused or could not be read: its own key, bytes and headers, and why.",
        "contentType": "application/octet-stream",
        "headers": headers.of_dead_letter(),
        "bindings": {"kafka": {"key": {"type": "string", "description": "The original's."}, **_BINDING}},
    }
    return _Part(
        channel="dead_letter",
        topic=installation.names.dead_letter,
        description=NULL_DEAD_LETTER,
        message="DeadLetter",
        content=content,
        operation="put_aside",
        summary="Put aside what was refused, with the reason.",
    )


def _journal(installation: Installation) -> _Part:
    content = {
        "name": "JournalRow",
        "title": "Row of the journal",
        "summary": "What was handled in one transaction, in which order; a rebuild obeys it.",
        "contentType": "application/json",
        "headers": headers.of_journal_row(),
        "payload": _JOURNAL_ROW,
        "bindings": {"kafka": {"key": {"type": "string", "description": "Its number."}, **_BINDING}},
    }
    return _Part(
        channel="journal",
        topic=installation.names.journal,
        description=NULL_JOURNAL,
        message="JournalRow",
        content=content,
        operation="write_journal",
        summary="Write down what was handled, in which order.",
    )


def _numbered(installation: Installation) -> list[tuple[int, str]]:
    return list(enumerate(installation.servers))


def _server(host: str, installation: Installation) -> dict[str, Any]:
    binding = {"schemaRegistryUrl": installation.registry_url, **_BINDING}
    return {"host": host, "protocol": "kafka", "bindings": {"kafka": binding}}


def _first_line(handler: Callable[..., Any]) -> str:
    return (handler.__doc__ or "").partition("\n")[0]
