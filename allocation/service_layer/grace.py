"""Look after the commands that wait: go on with what can be released, and end the grace of what still waits.

A command is refused only when its time is over *and* every `create_batch` log has been handled up to
the end that it had after that: a worker that comes back after hours must not refuse for having read
one topic before another. A release that was begun is gone on with by whoever looks, so that it is
finished also when the worker that began it is dead.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import draining, failures, messages, processing, unit_of_work

log = structlog.get_logger()

RELEASE_BUDGET_S = 1.0  # of releasing in one go: records are polled for in between, within any session


class WaitingRoom(Protocol):
    """What is known of waiting commands outside of any unit of work."""

    def now(self) -> datetime:
        """Return the database's time."""

    def overdue(self, at: datetime, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        """Return commands that stand first in their queue and whose grace ended by then, the oldest first."""

    def to_release(self, *, limit: int) -> Sequence[str]:
        """Return queues whose release is not finished, the oldest first."""

    def creations(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        """Return the first `CreateBatch` of each queue, unless a poisoned command stands before it."""

    def next_offsets(self) -> Mapping[messages.LogPartition, int]:
        """Return how far each log is handled."""


class Processing(Protocol):
    """Ends what is overdue, and releases."""

    def expire(
        self,
        overdue: Sequence[unit_of_work.ParkedCommand],
        *,
        expired_at: datetime,
        failed: Mapping[draining.Culprit, failures.Failure],
    ) -> processing.Report:
        """Refuse these commands if their grace ended by then and they still wait."""

    def release(
        self,
        queues: Collection[str],
        creations: Sequence[unit_of_work.ParkedCommand],
        *,
        failed: Mapping[draining.Culprit, failures.Failure],
    ) -> processing.Report:
        """Go on with the release of these queues."""


class Attempt(Protocol):
    """Goes through parked commands in one transaction; raises `draining.Failed`."""

    def __call__(self, *, failed: Mapping[draining.Culprit, failures.Failure]) -> processing.Report:
        """Do so; `failed` are known to fail."""


class Policy(Protocol):
    """What becomes of a parked command that fails."""

    def go_through(self, attempt: Attempt) -> processing.Report:
        """Have this done, in the end without those that fail."""


# The ends of the `create_batch` logs as they are now; None while there is no such topic.
Ends = Callable[[], "Mapping[messages.LogPartition, int] | None"]


class _Barrier(NamedTuple):
    expired_at: datetime
    ends: Mapping[messages.LogPartition, int]


class Grace:
    """Looks after the waiting commands of the whole database; any number of workers may do so at once."""

    LIMIT = 500  # queues that are gone through in one transaction

    def __init__(
        self,
        *,
        room: WaitingRoom,
        ends: Ends,
        processor: Processing,
        policy: Policy,
        may_release: Callable[[], bool] = lambda: True,
    ) -> None:
        self._room = room
        self._ends = ends
        self._processor = processor
        self._policy = policy
        self._may_release = may_release
        self._barrier: _Barrier | None = None

    def check(self) -> Sequence[processing.Report]:
        """Do one step: release, then see whether any grace is over, or refuse what is overdue.

        Blocks for a few transactions, `RELEASE_BUDGET_S` and one more at most. Raises `Retryable`; a command that
        fails in another way stays where it is, and stops no other.
        """
        return [*self._release(), *self._end_grace()]

    def _release(self) -> list[processing.Report]:
        reports: list[processing.Report] = []
        deadline = time.monotonic() + RELEASE_BUDGET_S
        while self._may_release() and time.monotonic() < deadline:
            queues = self._room.to_release(limit=self.LIMIT)
            if not queues:
                break
            creations = self._room.creations(queues)
            attempt = functools.partial(self._processor.release, queues, creations)
            reports.append(self._policy.go_through(attempt))
        return reports

    def _end_grace(self) -> Sequence[processing.Report]:
        if self._barrier is None:
            self._barrier = self._raise_barrier()
            return ()
        if not self._is_passed(self._barrier):
            return ()
        barrier, self._barrier = self._barrier, None
        overdue = self._room.overdue(barrier.expired_at, limit=self.LIMIT)
        if not overdue:
            self._barrier = self._raise_barrier()
            return ()
        reports = self._expire(overdue, barrier.expired_at)
        if any(report.outcomes for report in reports):  # there may be more: what stood behind these
            self._barrier = barrier
        return reports

    def _raise_barrier(self) -> _Barrier | None:
        now = self._room.now()
        ends = self._ends() if self._room.overdue(now, limit=1) else None
        return None if ends is None else _Barrier(now, ends)

    def _expire(self, overdue: Sequence[unit_of_work.ParkedCommand], expired_at: datetime) -> list[processing.Report]:
        try:
            attempt = functools.partial(self._processor.expire, overdue, expired_at=expired_at)
            return [self._policy.go_through(attempt)]
        except ports.Retryable:
            raise
        except Exception:  # a bug that no single command is known to have; it is told until it is mended
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
