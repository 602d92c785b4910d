"""Read an event as others read it: the value by its schema, the rest from its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from allocation.service_layer import messages, ports
from allocation.service_layer.operations.verify import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer import topics


class Unusable(Exception):
    """A message on a topic of events that is none of ours; says why."""


class Event(NamedTuple):
    """A published event; `place` is where it lies, `batchref` None says that the line is out of stock."""

    name: str
    line: snapshot.Line
    batchref: str | None
    sequence: int
    id: str
    cause: str
    place: str


class EventReader:
    """Reads the messages of the three topics of events."""

    def __init__(self, *, topics: topics.TopicNames, deserializer: ports.Deserializer) -> None:
        self._names = {topic: name for name, topic in topics.events.items()}
        self._deserializer = deserializer

    def read(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes | None], *, place: str
    ) -> Event:
        """Return the event; raises `Unusable` for what is none."""
        name = self._names[topic]
        fields = self._fields(name, value)
        line = snapshot.Line(fields["orderid"], fields["sku"], fields["qty"])
        if key != line.sku.encode():
            raise Unusable(f"its key is {key!r}, not its sku {line.sku}")
        sequence = _text(headers, messages.CE_SEQUENCE)
        if not (sequence.isascii() and sequence.isdigit()):
            raise Unusable(f"its header {messages.CE_SEQUENCE} is {sequence!r}, which is no number")
        return Event(
            name=name,
            line=line,
            batchref=fields.get("batchref"),
            sequence=int(sequence),
            id=_text(headers, messages.CE_ID),
            cause=_text(headers, messages.CE_CAUSATIONID),
            place=place,
        )

    def _fields(self, name: str, value: bytes | None) -> Mapping[str, Any]:
        if value is None:
            raise Unusable("its value is null")
        try:
            return self._deserializer.deserialize(name, value)
        except ports.UnreadableValue as error:
            raise Unusable(str(error)) from error


def _text(headers: Mapping[str, bytes | None], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise Unusable(f"it has no header {name}")
    return value.decode(errors="backslashreplace").replace("\0", "\\0")
