"""What has to change in a record that is copied to another cluster, where topics have other ids.

A message that brings no id is known by where it lies, the topic's id included. So it is given that as an id of its
own: whatever was derived from it stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer import messages, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

TOPIC_ID = "dead_letter_topic_id"
_PLACE = ("dead_letter_partition", "dead_letter_offset")


def named(headers: messages.Headers, identity: messages.MessageId) -> messages.Headers:
    """Return headers that name this identity, unless they name one already, or cannot be read."""
    given = dict(headers)
    if given.get(messages.CE_ID) or messages.UNREADABLE_HEADERS in given:
        return headers
    return (*headers, (messages.CE_ID, identity.id.encode()), (messages.CE_SOURCE, identity.source.encode()))


def command(record: messages.Record) -> messages.Record:
    """Return a command as it is copied."""
    place = reading.place_as_identity(record.topic_id, record.partition, record.offset)
    return record._replace(headers=named(record.headers, place))


def dead_letter(record: messages.Record, topic_ids: Mapping[str, str]) -> messages.Record:
    """Return a dead letter as it is copied; its command's topic has another id now."""
    given = dict(record.headers)
    topic_id = (given.get(TOPIC_ID) or b"").decode(errors="replace")
    if topic_id not in topic_ids:
        return record
    partition, offset = (int(given.get(name) or 0) for name in _PLACE)
    headers = named(record.headers, reading.place_as_identity(topic_id, partition, offset))
    moved = tuple((name, topic_ids[topic_id].encode() if name == TOPIC_ID else value) for name, value in headers)
    return record._replace(headers=moved)
