"""End the grace of commands that still wait for their batch.

A command is refused only when its time is over *and* every `create_batch` log has been handled up to
the end that it had after that: a worker that comes back after hours must not refuse for having read
one topic before another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import messages, processing, unit_of_work

log = structlog.get_logger()


class WaitingRoom(Protocol):
    """What is known of waiting commands outside of any unit of work."""

    def now(self) -> datetime:
        """Return the database's time."""

    def overdue(self, at: datetime, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        """Return commands that stand first in their queue and whose grace ended by then, the oldest first."""

    def next_offsets(self) -> Mapping[messages.LogPartition, int]:
        """Return how far each log is handled."""


class Processing(Protocol):
    """Ends what is overdue."""

    def expire(self, overdue: Sequence[unit_of_work.ParkedCommand], *, expired_at: datetime) -> processing.Report:
        """Refuse these commands if their grace ended by then and they still wait."""


# The ends of the `create_batch` logs as they are now; None while there is no such topic.
Ends = Callable[[], "Mapping[messages.LogPartition, int] | None"]


class _Barrier(NamedTuple):
    expired_at: datetime
    ends: Mapping[messages.LogPartition, int]


class Grace:
    """Looks after the waiting commands of the whole database; any number of workers may do so at once."""

    LIMIT = 500  # commands refused in one transaction

    def __init__(self, *, room: WaitingRoom, ends: Ends, processor: Processing) -> None:
        self._room = room
        self._ends = ends
        self._processor = processor
        self._barrier: _Barrier | None = None

    def check(self) -> Sequence[processing.Report]:
        """Do one step: see whether any grace is over, or refuse what is overdue; blocks for one transaction.

        Raises `Retryable`; a command that fails in another way stays where it is, and stops no other.
        """
        if self._barrier is None:
            self._barrier = self._raise_barrier()
            return ()
        if not self._is_passed(self._barrier):
            return ()
        expired_at, self._barrier = self._barrier.expired_at, None
        overdue = self._room.overdue(expired_at, limit=self.LIMIT)
        return self._expire(overdue, expired_at) if overdue else ()

    def _raise_barrier(self) -> _Barrier | None:
        now = self._room.now()
        ends = self._ends() if self._room.overdue(now, limit=1) else None
        return None if ends is None else _Barrier(now, ends)

    def _expire(self, overdue: Sequence[unit_of_work.ParkedCommand], expired_at: datetime) -> list[processing.Report]:
        try:
            return [self._processor.expire(overdue, expired_at=expired_at)]
        except ports.Retryable:
            raise
        except Exception:  # a bug; it is told again and again until it is mended
            if len(overdue) == 1:
                record = overdue[0].message.record
                where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
                log.exception("worker.grace_failed", **where, queue=overdue[0].queue)
                return []
            middle = len(overdue) // 2
            return [*self._expire(overdue[:middle], expired_at), *self._expire(overdue[middle:], expired_at)]

    def _is_passed(self, barrier: _Barrier) -> bool:
        handled = self._room.next_offsets()
        return all(handled.get(log, 0) >= end for log, end in barrier.ends.items())
