"""Which commands were refused, and why: told in the log, so that nobody has to read the dead letters for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from allocation.service_layer import traces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer import messages

log = structlog.get_logger()

MAX_LINES = 20  # of one unit of work: a flood of rubbish must not become a flood of the log as well


class Refusal(NamedTuple):
    """A message that went to the dead letters: a stable word for why, and a sentence for people."""

    message: messages.Message
    reason: str
    error: str

    @property
    def record(self) -> messages.Record:
        """Where it lies."""
        return self.message.record


def tell(refused: Sequence[Refusal]) -> None:
    """Log a line for each, and of those beyond `MAX_LINES` how many there are."""
    for message, reason, error in refused[:MAX_LINES]:
        log.warning(
            "worker.refused",
            topic=message.record.topic,
            partition=message.record.partition,
            offset=message.record.offset,
            message_id=message.id.id,
            reason=reason,
            error=error,
            trace_id=traces.of_command(message.id, message.traceparent).id.decode(),
        )
    if len(refused) > MAX_LINES:
        log.warning("worker.refused_more", messages=len(refused) - MAX_LINES)
