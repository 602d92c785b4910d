"""Dead letters as an operator sees them, and the message that sends one back to where it came from.

Guards that a redriven message keeps its identity and counts as the next attempt at the same command:
whoever has handled it before will know it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import messages, reading

if TYPE_CHECKING:
    from collections.abc import Collection

_OWN = "dead_letter_"
_REDIS = "redis:"
_MAX_DIGITS = 20  # longer than any number of Kafka's
_IDENTITY = frozenset({messages.CE_ID, messages.CE_SOURCE})

# Every word that says why something was refused, the words of the business first.
REASONS = frozenset(
    {
        *("invalid", "invalid_sku", "unknown_batch", "conflict", "id_reused"),
        *("undecodable", "unknown_schema", "wrong_record", "null_value", "too_large", "failed"),
    }
)


class Place(NamedTuple):
    """Where a dead letter lies on its topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Origin(NamedTuple):
    """Where the message lay that was refused; a `partition` of -1 is in no log."""

    topic: str
    topic_id: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return self.topic if self.partition < 0 else f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was put aside; `origin` None, if it does not say where it comes from."""

    record: messages.Record
    place: Place
    time: datetime
    reason: str
    error: str
    error_class: str
    stack: str
    attempt: int
    origin: Origin | None

    @property
    def key(self) -> str | None:
        """The key as text."""
        return None if self.record.key is None else self.record.key.decode(errors="backslashreplace")


class Decision(NamedTuple):
    """What was decided on a dead letter, `redriven` or `discarded`."""

    what: str
    at: datetime
    who: str
    why: str

    def may_become(self, other: str) -> bool:
        """Tell whether it may still be decided otherwise: what was sent back cannot be called back."""
        return (self.what, other) == ("discarded", "redriven")

    def __str__(self) -> str:
        return f"{self.what} {self.at:%Y-%m-%d %H:%M:%S} UTC by {self.who}: {self.why}"


class CannotRedrive(Exception):
    """Sent back as it is, this dead letter would not get anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which dead letters are meant; what is empty or None does not matter. `since` is included, `until` is not."""

    reasons: Collection[str] = field(default=())
    stacks: Collection[str] = field(default=())
    topics: Collection[str] = field(default=())
    keys: Collection[str] = field(default=())
    places: Collection[Place] = field(default=())
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it lets everything pass."""
        return not any((self.reasons, self.stacks, self.topics, self.keys, self.places, self.since, self.until))

    def matches(self, letter: DeadLetter) -> bool:
        """Tell whether this dead letter is meant."""
        topic = "" if letter.origin is None else letter.origin.topic
        return (
            _is_among(letter.place, self.places)
            and _is_among(letter.reason, self.reasons)
            and _is_among(letter.stack, self.stacks)
            and _is_among(topic, self.topics)
            and _is_among(letter.key, self.keys)
            and (self.since is None or self.since <= letter.time)
            and (self.until is None or letter.time < self.until)
        )


def read(record: messages.Record) -> DeadLetter:
    """Return what a record of the dead-letter topic says; whatever it holds, this does not fail."""
    own = {name: (value or b"").decode(errors="backslashreplace") for name, value in record.headers}
    return DeadLetter(
        record=record,
        place=Place(record.partition, record.offset),
        time=_time(own.get("dead_letter_time", ""), record.timestamp_ms),
        reason=own.get("dead_letter_reason", ""),
        error=own.get("dead_letter_error", ""),
        error_class=own.get("dead_letter_class", ""),
        stack=own.get("dead_letter_stack", ""),
        attempt=_number(own.get("dead_letter_attempt", "")) or messages.FIRST_ATTEMPT,
        origin=_origin(own),
    )


def original_headers(headers: messages.Headers) -> messages.Headers:
    """Return the headers without those that a dead letter adds."""
    return tuple(header for header in headers if not header[0].startswith(_OWN))


def redriven(letter: DeadLetter, *, command_topics: Collection[str]) -> messages.OutboxMessage:
    """Return the message that sends a dead letter back as the next attempt at its command.

    Key, bytes and headers are the original ones. Raises `CannotRedrive`.
    """
    origin = _redrivable_origin(letter, command_topics)
    headers = original_headers(letter.record.headers)
    identity = None if dict(headers).get(messages.CE_ID) else _identity(origin)
    headers = as_attempt(headers, identity=identity, attempt=letter.attempt + 1)
    if not all(reading.is_identity(value or b"") for name, value in headers if name in _IDENTITY):
        raise CannotRedrive("its ce_id or ce_source is too long or no text; send it anew with one that fits")
    return messages.OutboxMessage(origin.topic, letter.record.key, letter.record.value, headers)


def _redrivable_origin(letter: DeadLetter, command_topics: Collection[str]) -> Origin:
    origin = letter.origin
    if origin is None:
        raise CannotRedrive("it does not say which topic, partition and offset it comes from")
    if origin.topic.startswith(_REDIS):
        raise CannotRedrive(
            f"it came from the Redis channel {origin.topic.removeprefix(_REDIS)} and is no Kafka message; "
            "publish it there again, corrected, or use `allocation produce`"
        )
    if origin.topic not in command_topics:
        raise CannotRedrive(f"{origin.topic} is no command topic of this installation")
    if letter.reason == "id_reused":
        raise CannotRedrive("its id belongs to another command; send it anew with an id of its own")
    return origin


def as_attempt(headers: messages.Headers, *, identity: messages.MessageId | None, attempt: int) -> messages.Headers:
    """Return a command's headers for another attempt at it; `identity` is needed where they bring none."""
    if identity is not None and not dict(headers).get(messages.CE_ID):
        headers = (
            *(header for header in headers if header[0] not in _IDENTITY),
            (messages.CE_ID, identity.id.encode()),
            (messages.CE_SOURCE, identity.source.encode()),
        )
    return (*(header for header in headers if header[0] != messages.ATTEMPT), (messages.ATTEMPT, b"%d" % attempt))


def _identity(origin: Origin) -> messages.MessageId:
    if not origin.topic_id:
        raise CannotRedrive("it has no id, and does not say in which topic (by the topic's id) it had its place")
    return reading.place_as_identity(origin.topic_id, origin.partition, origin.offset)


def _origin(own: dict[str, str]) -> Origin | None:
    topic = own.get("dead_letter_topic", "")
    partition, offset = (_number(own.get(f"dead_letter_{name}", "")) for name in ("partition", "offset"))
    if not topic or partition is None or offset is None:
        return None
    return Origin(topic, own.get("dead_letter_topic_id", ""), partition, offset)


def _number(text: str) -> int | None:
    return int(text) if len(text) <= _MAX_DIGITS and text.removeprefix("-").isdecimal() else None


def _time(text: str, timestamp_ms: int) -> datetime:
    try:
        said = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return said if said.tzinfo else said.replace(tzinfo=UTC)


def _is_among(value: object, wanted: Collection[object]) -> bool:
    return not wanted or value in wanted
