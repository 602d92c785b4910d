"""Make a message of a record: who sent it, which command it holds, or why it holds none.

Nothing that a record may hold makes this fail; only the registry's absence does.
"""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any

from allocation.domain import commands, refusal
from allocation.service_layer import messages, ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from allocation.service_layer import topics

_MAGIC = b"\0"
_WIRE_HEADER_BYTES = 5  # the number of the schema is no part of the content
_DIGEST_BYTES = 16
_ATTEMPT_DIGITS = 9  # so that it fits a Postgres integer
# What a topic takes by default. Senders that compress get more past it, twenty times as much and beyond: too much for
# a dead letter, and for a transaction that has others to serve.
MAX_RECORD_BYTES = 1_048_588
_KEPT_BYTES = 512 * 1024  # of each, key and value, so that a dead letter has room for what is added

_LONGEST_SENDING_MS = 86_400_000  # a day; what says more was sent by a clock that is wrong, or comes from an archive

_COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], commands.Command]] = {
    "CreateBatch": lambda fields: commands.CreateBatch(fields["ref"], fields["sku"], fields["qty"], fields["eta"]),
    "Allocate": lambda fields: commands.Allocate(fields["orderid"], fields["sku"], fields["qty"]),
    "ChangeBatchQuantity": lambda fields: commands.ChangeBatchQuantity(
        fields["batchref"], fields["qty"], fields["sku"]
    ),
}


def digest(topic: str, value: bytes | None) -> bytes:
    """Return what two messages share that say the same on the same topic."""
    if value is None:
        content = b"%b\0null" % topic.encode()
    elif value.startswith(_MAGIC):
        content = b"%b\0=%b" % (topic.encode(), value[_WIRE_HEADER_BYTES:])
    else:  # not the wire format: all of it is content
        content = b"%b\0?%b" % (topic.encode(), value)
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def record_digest(record: messages.Record) -> bytes:
    """Return by what a record of a log can be recognised."""
    content = b"%d\0%b\0%b" % (record.timestamp_ms, record.key or b"", record.value or b"")
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def sent_ms(record: messages.Record) -> int:
    """Return when a command was sent (Unix time): its `ce_time`, or the time of its record where that cannot be it.

    A later attempt still has the `ce_time` of the first.
    """
    headers = dict(record.headers)
    given = headers.get(messages.CE_TIME)
    if given and (headers.get(messages.ATTEMPT) or b"1") == b"1":
        try:
            sent = datetime.fromisoformat(given.decode())
        except ValueError:
            return record.timestamp_ms
        if sent.tzinfo is not None:
            ms = int(sent.timestamp() * 1000)
            if 0 <= record.timestamp_ms - ms <= _LONGEST_SENDING_MS:
                return ms
    return record.timestamp_ms


def place_as_identity(topic_id: str, partition: int, offset: int) -> messages.MessageId:
    """Return the identity of a message that brings none: where it lies."""
    return messages.MessageId("kafka", f"{topic_id}/{partition}/{offset}")


def is_identity(value: bytes) -> bool:
    """Tell whether a header can be a part of an identity."""
    try:
        _text("", value)
    except ValueError:
        return False
    return True


class MessageReader:
    """Reads the records of the three command topics; may not be shared between threads."""

    def __init__(self, *, topics: topics.TopicNames, deserializer: ports.Deserializer) -> None:
        self._record_names = {topic: name for name, topic in topics.commands.items()}
        self._deserializer = deserializer

    def read(self, record: messages.Record) -> messages.Message:
        """Return the message; raises `DependencyDown` when its schema would have to be looked up and cannot be."""
        size = _size(record)
        if size > MAX_RECORD_BYTES:
            return _cut(record, size)
        return _message(record, self._command(record))

    def unreadable(self, record: messages.Record, problem: messages.Unreadable) -> messages.Message:
        """Return the message that holds no command for a reason that is known already."""
        return _message(record, problem)

    def _command(self, record: messages.Record) -> commands.Command | messages.Unreadable:
        if record.value is None:
            return messages.Unreadable("null_value", f"a null on {record.topic} is no command")
        name = self._record_names[record.topic]
        try:
            return _COMMANDS[name](self._deserializer.deserialize(name, record.value))
        except ports.UnreadableValue as error:
            return messages.Unreadable(error.reason, messages.sentence(str(error)))
        except refusal.Refusal as error:
            return messages.Unreadable(error.reason, str(error))


def _size(record: messages.Record) -> int:
    texts = itertools.chain.from_iterable(record.headers)
    try:
        headers = sum(map(len, texts))  # type: ignore[arg-type]
    except TypeError:  # a value is None
        headers = sum(map(len, filter(None, itertools.chain.from_iterable(record.headers))))
    return len(record.key or b"") + len(record.value or b"") + headers


def _cut(record: messages.Record, size: int) -> messages.Message:
    """Return a message with the beginnings of what is too large, and without headers, which may be what is."""
    error = (
        f"key, value and headers are {size} bytes long, at most {MAX_RECORD_BYTES}; of key and value the first "
        f"{_KEPT_BYTES} each are kept here, and all of it lies where it came from"
    )
    key, value = record.key, record.value
    kept = record._replace(key=key and key[:_KEPT_BYTES], value=value and value[:_KEPT_BYTES], headers=())
    return messages.Message(
        record=kept,
        id=_coordinates(record),
        attempt=messages.FIRST_ATTEMPT,
        digest=digest(record.topic, record.value),
        command=messages.Unreadable("too_large", error),
    )


def _message(record: messages.Record, command: commands.Command | messages.Unreadable) -> messages.Message:
    headers = dict(record.headers)
    sender, attempt, problem = identity(record, headers)
    content = digest(record.topic, record.value)
    return messages.Message(record, sender, attempt, content, problem or command, messages.NO_GRACE not in headers)


def identity(
    record: messages.Record, headers: Mapping[str, bytes | None]
) -> tuple[messages.MessageId, int, messages.Unreadable | None]:
    """Return who a message is, which attempt it is, and what is wrong with its headers, if anything is."""
    if messages.UNREADABLE_HEADERS in headers:  # they may have named an id that was handled already
        error = "a header's name is no UTF-8, so none of its headers can be read; send it anew without that header"
        return _coordinates(record), messages.FIRST_ATTEMPT, messages.Unreadable("invalid", error)
    own = headers.get(messages.CE_ID)
    if not own:
        return _coordinates(record), messages.FIRST_ATTEMPT, None
    source = headers.get(messages.CE_SOURCE) or b""
    try:
        found = messages.MessageId(_text(messages.CE_SOURCE, source), _text(messages.CE_ID, own))
    except ValueError as flaw:
        return _coordinates(record), messages.FIRST_ATTEMPT, messages.Unreadable("invalid", str(flaw))
    attempt = headers.get(messages.ATTEMPT)
    if not attempt:
        return found, messages.FIRST_ATTEMPT, None
    if not (attempt.isdigit() and len(attempt) <= _ATTEMPT_DIGITS and int(attempt) > 0):
        error = f"header {messages.ATTEMPT} is {attempt[:20]!r}; it must be a number from 1"
        return _coordinates(record), messages.FIRST_ATTEMPT, messages.Unreadable("invalid", error)
    return found, int(attempt), None


def _coordinates(record: messages.Record) -> messages.MessageId:
    return place_as_identity(record.topic_id, record.partition, record.offset)


def _text(name: str, value: bytes) -> str:
    """Return a part of an identity; escaping what cannot be stored would let two messages share one."""
    if len(value) > commands.MAX_ID_BYTES:
        raise ValueError(f"header {name} is {len(value)} bytes long; at most {commands.MAX_ID_BYTES}")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"header {name} is {value[:20]!r}; it must be UTF-8") from None
    if "\0" in text:
        raise ValueError(f"header {name} is {value[:20]!r}; it must not hold a NUL character")
    return text
