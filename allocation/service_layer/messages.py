"""What comes in from Kafka and what is to go out to it, as plain values.

The types that are made once for every message are named tuples or plain slotted classes: a frozen
dataclass costs three times as much to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allocation.domain import commands

Headers = tuple[tuple[str, bytes | None], ...]

# Headers of the CloudEvents Kafka binding (binary mode) and of W3C trace context.
CE_ID = "ce_id"
CE_SOURCE = "ce_source"
CE_TYPE = "ce_type"
CE_TIME = "ce_time"
CE_SPECVERSION = "ce_specversion"
CE_SEQUENCE = "ce_sequence"
CE_CAUSATIONID = "ce_causationid"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"

# Our own: which try of the same command this is, and whether its sender waits for the outcome.
ATTEMPT = "allocation_attempt"
NO_GRACE = "allocation_no_grace"

# Stands in place of headers that nobody can read, and so makes their message invalid.
UNREADABLE_HEADERS = "allocation_unreadable_headers"

# On a row of the journal: when the oldest of its commands was sent (Unix time, milliseconds).
COMMANDS_SINCE = "allocation_commands_since"

# An event that was announced before, and is on its topic again for those who keep what it says.
RESENT = "allocation_resent"

FIRST_ATTEMPT = 1

_MAX_ERROR_CHARACTERS = 1000  # enough for people; some errors repeat a whole statement, or a whole schema


class MessageId(NamedTuple):
    """The identity of a command: `ce_source` and `ce_id`, or where it lies in Kafka."""

    source: str
    id: str


class LogPartition(NamedTuple):
    """One log: a partition of the topic that has this topic id, whatever the topic is called."""

    topic_id: str
    partition: int


class TopicPartition(NamedTuple):
    """One partition of a topic by name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class LogEnd(NamedTuple):
    """The end of a log: no record lies between `after`, which follows the last one read, and `next_offset`."""

    topic: str
    log: LogPartition
    after: int
    next_offset: int


class Record(NamedTuple):
    """A message as it lies in Kafka."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    leader_epoch: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def log(self) -> LogPartition:
        """The log that it lies in."""
        return LogPartition(self.topic_id, self.partition)


@dataclass(slots=True)
class Unreadable:
    """Why no command could be made of a record: a stable word and a sentence for people."""

    reason: str
    error: str


@dataclass(slots=True)
class Message:
    """A record and the command in it, or why there is none."""

    record: Record
    id: MessageId
    attempt: int
    digest: bytes
    command: commands.Command | Unreadable
    waits: bool = True

    @property
    def traceparent(self) -> bytes | None:
        """The trace that the sender began."""
        for name, value in reversed(self.record.headers):
            if name == TRACEPARENT:
                return value
        return None


def commands_of(given: Iterable[Message]) -> list[commands.Command]:
    """Return the commands of those messages that hold one."""
    return [message.command for message in given if not isinstance(message.command, Unreadable)]


def sentence(error: str) -> str:
    """Return what an error says as text that can be stored and sent, whatever it quotes."""
    return error[:_MAX_ERROR_CHARACTERS].encode(errors="backslashreplace").decode().replace("\0", "\\0")


class OutboxMessage(NamedTuple):
    """A message on its way out.

    `partition` None lets the key decide. `sku` names whose order it belongs to.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    sku: str | None = None
    partition: int | None = None
