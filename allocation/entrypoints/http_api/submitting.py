"""Put a command on its Kafka topic and wait for what becomes of it.

The order matters: the waiter is registered before anything else, so that no outcome can pass unseen;
`Pending` is said only of a command that Kafka has acknowledged.
"""

from __future__ import annotations

import asyncio
import functools
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import structlog

from allocation.entrypoints.http_api import parts
from allocation.service_layer import messages, ports, reading

if TYPE_CHECKING:
    from allocation import views
    from allocation.domain import commands
    from allocation.entrypoints.http_api import waiting

# Of the time that a call has: the look for an earlier call with the same key must leave time to send the command.
_LOOK_SHARE = 0.5
# Calls in a thread of their own until Kafka has their command; thousands a second at a few milliseconds each.
_SENDERS = 64

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """The worker has handled or refused it."""

    outcome: views.CommandOutcome


@dataclass(frozen=True, slots=True)
class Pending:
    """Kafka has it, and it will be handled: it lies at `at`."""

    commandid: str
    at: parts.Coordinates


@dataclass(frozen=True, slots=True)
class Untaken:
    """Kafka did not acknowledge it in time; it may have it all the same if it was sent."""

    commandid: str
    error: str


@dataclass(frozen=True, slots=True)
class Reused:
    """Its id belongs to another command, which is unaffected."""

    commandid: str


Answer = Settled | Pending | Untaken | Reused


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a caller says beside the command: an id that makes it safe to repeat, and the trace it belongs to."""

    key: str | None = None
    traceparent: str | None = None


class Submitter:
    """Submits for one event loop."""

    def __init__(self, api: parts.Parts, waiters: waiting.Waiters) -> None:
        self._log = api.log
        self._envelopes = api.envelopes
        self._reads = api.reads
        self._timeout_s = api.timeout_s
        self._waiters = waiters
        self._senders = anyio.CapacityLimiter(_SENDERS)

    async def submit(self, command: commands.Command, caller: Caller) -> Answer:
        """Send the command unless an earlier call did, and return what is known of it when the time is over."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        commandid = caller.key or str(uuid.uuid4())
        message = self._envelopes.command(
            command,
            id=messages.MessageId(parts.SOURCE, commandid),
            time=datetime.now(UTC),
            no_grace=True,
            traceparent=caller.traceparent,
        )
        digest = reading.digest(message.topic, message.value)
        with self._waiters.expect(commandid) as arrival:
            outcome = await self._known(commandid) if caller.key else None  # an id just made up is nobody's
            if outcome is not None:
                return _answer(outcome, digest)
            try:
                at = await self._send(message, deadline)
            except ports.Retryable as error:
                return Untaken(commandid, str(error))
            outcome = await _until(deadline, arrival)
        return Pending(commandid, at) if outcome is None else _answer(outcome, digest)

    async def _known(self, commandid: str) -> views.CommandOutcome | None:
        look = functools.partial(self._reads.outcomes, (commandid,))
        with anyio.move_on_after(self._timeout_s * _LOOK_SHARE):
            try:
                return (await anyio.to_thread.run_sync(look, abandon_on_cancel=True)).get(commandid)
            except ports.Retryable as error:
                _log.warning("api.inbox.unreachable", commandid=commandid, error=str(error))
        return None  # the worker knows what it has handled: sent twice is handled once

    async def _send(self, message: messages.OutboxMessage, deadline: float) -> parts.Coordinates:
        timeout_s = max(deadline - asyncio.get_running_loop().time(), 0)
        send = functools.partial(self._log.send, message, timeout_s=timeout_s)
        try:
            async with asyncio.timeout_at(deadline):
                return await anyio.to_thread.run_sync(send, abandon_on_cancel=True, limiter=self._senders)
        except TimeoutError as error:
            problem = f"no acknowledgement within {self._timeout_s:g} s"
            raise ports.DependencyDown(problem) from error


async def _until(deadline: float, arrival: asyncio.Future[views.CommandOutcome]) -> views.CommandOutcome | None:
    try:
        async with asyncio.timeout_at(deadline):
            return await arrival
    except TimeoutError:
        return None


def _answer(outcome: views.CommandOutcome, digest: bytes) -> Answer:
    if outcome.digest != digest:
        return Reused(outcome.id)
    if outcome.status == "waiting":
        return Pending(outcome.id, outcome)
    return Settled(outcome)
