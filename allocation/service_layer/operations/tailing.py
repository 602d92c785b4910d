"""Show what lies on the topics as plain values: whatever a record holds, it makes a line and no error."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from allocation.service_layer import messages, ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer import topics

DEAD_LETTER_TOPIC = "dead_letter_topic"


def known_topics(names: topics.TopicNames) -> dict[str, str]:
    """Return each topic by what people may call it: without the prefix, and without "allocation.", too."""
    full = [*names.commands.values(), *names.events.values(), names.dead_letter, names.journal, names.relay_checkpoint]
    without_prefix = {name.removeprefix(names.prefix): name for name in full}
    shortened = {name.removeprefix("allocation."): topic for name, topic in without_prefix.items()}
    return shortened | without_prefix | dict(zip(full, full, strict=True))


class Decoder:
    """Makes lines of records; may not be shared between threads."""

    def __init__(self, *, topics: topics.TopicNames, deserializer: ports.Deserializer) -> None:
        self._record_names = {topic: name for name, topic in (topics.commands | topics.events).items()}
        self._dead_letter = topics.dead_letter
        self._deserializer = deserializer

    def line(self, record: messages.Record) -> dict[str, Any]:
        """Return a record as values that JSON can hold, dates apart; raises `DependencyDown`.

        A value that cannot be decoded stands in `value_base64`, and why in `error`.
        """
        headers = {name: _text(value) for name, value in record.headers}
        line = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "time": headers.get(messages.CE_TIME) or _rfc3339(record.timestamp_ms),
            "key": _text(record.key),
            "id": headers.get(messages.CE_ID),
            "source": headers.get(messages.CE_SOURCE),
            "sequence": _number(headers.get(messages.CE_SEQUENCE)),
            "causationid": headers.get(messages.CE_CAUSATIONID),
            **self._value(record, headers),
        }
        if record.topic == self._dead_letter:
            line["headers"] = headers
        return line

    def _value(self, record: messages.Record, headers: Mapping[str, str | None]) -> dict[str, Any]:
        if record.value is None:
            return {"value": None}
        name = self._record_names.get(record.topic) or self._record_names.get(headers.get(DEAD_LETTER_TOPIC) or "")
        try:
            if name is None:
                return {"value": json.loads(record.value)}
            return {"value": self._deserializer.deserialize(name, record.value)}
        except (ports.UnreadableValue, ValueError, RecursionError) as error:
            return {"value": None, "value_base64": base64.b64encode(record.value).decode(), "error": str(error)}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _number(value: str | None) -> int | str | None:
    return int(value) if value is not None and value.isdecimal() else value


def _rfc3339(timestamp_ms: int) -> str:
    time = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
