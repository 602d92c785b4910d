"""What the API needs from the world: the command log to write to, the database to read from, a hint to look again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from allocation import views

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractContextManager

    import sqlalchemy

    from allocation.entrypoints.observing import readiness
    from allocation.service_layer import envelopes, messages, ports

# The `ce_source` of the commands that come in here; with an id it is the identity of a command.
SOURCE = "allocation/http"


class CommandLog(Protocol):
    """The command topics in Kafka; threads may share it."""

    def send(self, message: messages.OutboxMessage, *, timeout_s: float) -> ports.Coordinates:
        """Block until all replicas have the message; raises `DependencyDown` when it took longer than `timeout_s`.

        After an error the message may still be taken; sending it again with the same id is safe.
        """


class Reads(Protocol):
    """The read side; every method blocks, may be repeated, may be called from any thread, raises `DependencyDown`."""

    def allocations(self, orderid: str) -> tuple[views.AllocatedLine, ...]:
        """Return the allocated lines of an order."""

    def outcome(self, commandid: str) -> views.CommandOutcome | None:
        """Return what became of a command, whoever sent it; None while the worker has not seen it."""

    def outcomes(self, commandids: Collection[str]) -> Mapping[str, views.CommandOutcome]:
        """Return what became of those of our own commands that the worker has seen."""


class Hints(Protocol):
    """Tells that the worker committed something; belongs to one thread."""

    def wait(self, timeout_s: float) -> bool:
        """Block until a hint comes or the time is over; raises `DependencyDown` when none can come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All that one running API is made of; `timeout_s` is how long a call waits for its outcome.

    `look` says how those are that it needs: it blocks for a few seconds at most, and threads may share it.
    """

    log: CommandLog
    envelopes: envelopes.Envelopes
    reads: Reads
    hints: Hints
    look: Callable[[], readiness.Answer]
    timeout_s: float


class DatabaseReads:
    """Reads from the connections that `connect` lends."""

    def __init__(self, connect: Callable[[], AbstractContextManager[sqlalchemy.Connection]]) -> None:
        self._connect = connect

    def allocations(self, orderid: str) -> tuple[views.AllocatedLine, ...]:
        """Return the allocated lines of an order."""
        with self._connect() as connection:
            return views.allocations(connection, orderid=orderid)

    def outcome(self, commandid: str) -> views.CommandOutcome | None:
        """Return what became of a command; ours first where several senders chose the same id."""
        with self._connect() as connection:
            return views.command_outcome(connection, id=commandid, source=SOURCE)

    def outcomes(self, commandids: Collection[str]) -> Mapping[str, views.CommandOutcome]:
        """Return what became of those of our own commands that the worker has seen, in one query."""
        with self._connect() as connection:
            return views.command_outcomes(connection, ids=commandids, source=SOURCE)
