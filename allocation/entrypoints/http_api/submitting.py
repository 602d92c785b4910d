"""Put a command on its Kafka topic and wait for what becomes of it.

The order matters: the waiter is registered before anything else, so that no outcome can pass unseen;
`Pending` is said only of a command that Kafka has acknowledged.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from allocation.entrypoints.http_api import hands, parts
from allocation.service_layer import kill_points, messages, ports, reading

if TYPE_CHECKING:
    from allocation import views
    from allocation.domain import commands
    from allocation.entrypoints.http_api import waiting

# Of the time that a call has: the look for an earlier call with the same key must leave time to send the command.
_LOOK_SHARE = 0.5

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """The worker has handled or refused it."""

    outcome: views.CommandOutcome


@dataclass(frozen=True, slots=True)
class Pending:
    """Kafka has it, and it will be handled: it lies at `at`."""

    commandid: str
    at: ports.Coordinates


@dataclass(frozen=True, slots=True)
class Untaken:
    """Kafka did not acknowledge it in time; it may have it all the same."""

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
    """Submits for one event loop; what blocks is left to the hands."""

    def __init__(
        self, api: parts.Parts, waiters: waiting.Waiters, *, database: hands.Hands, kafka: hands.Hands
    ) -> None:
        self._api = api
        self._waiters = waiters
        self._database = database
        self._kafka = kafka

    async def submit(self, command: commands.Command, caller: Caller) -> Answer:
        """Send the command unless an earlier call did, and return what is known of it when the time is over."""
        began = asyncio.get_running_loop().time()
        deadline = began + self._api.timeout_s
        commandid = caller.key or str(uuid.uuid4())
        message = self._message(command, commandid, caller)
        digest = reading.digest(message.topic, message.value)
        with self._waiters.expect(commandid) as arrival:
            if caller.key:  # an id just made up is nobody's
                outcome = await self._known(commandid, began + self._api.timeout_s * _LOOK_SHARE)
                if outcome is not None:
                    return _answer(outcome, digest)
            try:
                at = await self._send(message, deadline)
            except ports.DependencyDown as error:
                return Untaken(commandid, str(error))
            kill_points.reached("api.after_produce")
            outcome = await _until(deadline, arrival)
        return Pending(commandid, at) if outcome is None else _answer(outcome, digest)

    def _message(self, command: commands.Command, commandid: str, caller: Caller) -> messages.OutboxMessage:
        return self._api.envelopes.command(
            command,
            id=messages.MessageId(parts.SOURCE, commandid),
            time=datetime.now(UTC),
            no_grace=True,
            traceparent=caller.traceparent,
        )

    async def _known(self, commandid: str, deadline: float) -> views.CommandOutcome | None:
        try:
            found = await self._database.do(lambda: self._api.reads.outcomes((commandid,)), deadline=deadline)
        except ports.Retryable as error:
            # Not a reason to turn the call away: the worker knows, and what is sent twice is handled once.
            _log.warning("api.inbox.unreachable", commandid=commandid, error=str(error))
            return None
        return found.get(commandid)

    async def _send(self, message: messages.OutboxMessage, deadline: float) -> ports.Coordinates:
        loop = asyncio.get_running_loop()

        def send() -> ports.Coordinates:
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                raise ports.DependencyDown("too many calls wait for it; this one was not sent")
            return self._api.log.send(message, timeout_s=remaining_s)

        return await self._kafka.do(send, deadline=deadline + hands.LAST_WORD_S)


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
