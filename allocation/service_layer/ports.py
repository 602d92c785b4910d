"""What the service layer needs from the world outside, and the errors that may come from there.

Every method blocks until it is done unless it says otherwise. None of these objects may be shared
between threads. An operation that failed with `Retryable` changed nothing and may be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Retryable(Exception):
    """Nothing was changed and the same call may succeed later: a conflict, a deadlock, a lost connection."""


class LockedOut(Retryable):
    """Somebody else holds what we need for longer than we wait; never a fault of the message."""


class DependencyDown(Retryable):
    """A service that we need does not answer; work pauses until it does."""


class Coordinates(Protocol):
    """Where a message lies in Kafka."""

    @property
    def topic(self) -> str:
        """The topic's name, prefix included."""

    @property
    def partition(self) -> int:
        """From 0."""

    @property
    def offset(self) -> int:
        """Of this message."""


class UnreadableValue(Exception):
    """Bytes that hold no record of the expected kind; `reason` is a stable word."""

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(error)
        self.reason = reason


class Deserializer(Protocol):
    """Reads values in the Confluent wire format."""

    def deserialize(self, record_name: str, value: bytes) -> Mapping[str, Any]:
        """Return the fields of a record in the shape of our own schema of that name.

        Raises `UnreadableValue` (undecodable, unknown_schema, wrong_record) for good, `DependencyDown`
        when the registry would be needed and does not answer.
        """


class Serializer(Protocol):
    """Writes values in the Confluent wire format."""

    def serialize(self, record_name: str, fields: Mapping[str, Any]) -> bytes:
        """Return header and Avro body; needs no registry, may be repeated, threads may share it."""


class MembershipLost(Exception):
    """The group has shut this member out, or does not let it in; only a new one may try again."""

    def __init__(self, error: str, *, was_member: bool = False) -> None:
        super().__init__(error)
        self.was_member = was_member
