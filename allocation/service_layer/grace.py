"""Look after the commands that wait: go on with what can be released, and end the grace of what still waits.

A command is refused only when its time is over *and* every `create_batch` log has been handled up to
the end that it had after that: a worker that comes back after hours must not refuse for having read
one topic before another. A release that was begun is gone on with by whoever looks, so that it is
finished also when the worker that began it is dead. What fails, or takes too long, is gone through in
ever smaller parts, so that one queue stops neither the others nor the worker.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from allocation.service_layer import brakes, ports, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import draining, failures, messages, reporting

log = structlog.get_logger()

RELEASE_BUDGET_S = 1.0  # of releasing in one go: records are polled for in between, within any session
ASIDE_S = 60.0  # after which a queue is tried again that cannot be gone through at all, not even one command of it


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
        at_most: int | None,
        failed: Mapping[draining.Culprit, failures.Failure],
    ) -> reporting.Report:
        """Refuse these commands if their grace ended by then and they still wait."""

    def release(
        self,
        queues: Collection[str],
        creations: Sequence[unit_of_work.ParkedCommand],
        *,
        at_most: int | None,
        failed: Mapping[draining.Culprit, failures.Failure],
    ) -> reporting.Report:
        """Go on with the release of these queues."""


class Attempt(Protocol):
    """Goes through parked commands in one transaction; raises `draining.Failed`."""

    def __call__(self, *, failed: Mapping[draining.Culprit, failures.Failure]) -> reporting.Report:
        """Do so; `failed` are known to fail."""


class Passage(Protocol):
    """One way through parked commands, in some attempts."""

    @property
    def patience_s(self) -> float:
        """How long was spent on trying again what had failed."""

    def __call__(self, attempt: Attempt) -> reporting.Report:
        """Have this done, in the end without those that fail: they are left where they are, as poisoned.

        Raises `draining.Failed` when many fail: go through fewer then. An error that is no parked command's passes.
        """


class Policy(Protocol):
    """What becomes of a parked command that fails."""

    def passage(self) -> Passage:
        """Return what has parked commands handled; what failed in one attempt is known in the next."""


# The ends of the `create_batch` logs as they are now; None while there is no such topic.
Ends = Callable[[], "Mapping[messages.LogPartition, int] | None"]


class _Work(Protocol):
    """Goes through some of these queues in one transaction."""

    def __call__(
        self, queues: Sequence[str], *, at_most: int, failed: Mapping[draining.Culprit, failures.Failure]
    ) -> reporting.Report:
        """Do so, with so many commands."""


class _Turn:
    """What is done in one go: something in any case, then as much as there is time for."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.is_begun = False
        self._began = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether polling comes first; trying again what failed is bounded by itself."""
        return self.is_begun and time.monotonic() - self._began - self.passage.patience_s >= RELEASE_BUDGET_S


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
        self._chunk = brakes.BatchSize(unit_of_work.QUEUE_CHUNK)
        self._aside: dict[str, float] = {}  # queues that cannot be gone through, and until when they are left alone

    def check(self) -> Sequence[reporting.Report]:
        """Do one step: release, then see whether any grace is over, or refuse what is overdue.

        Blocks for `RELEASE_BUDGET_S` and one transaction at most, for each of the two, and for as long as the policy
        is patient. Raises `Retryable`; a command that fails in another way stays where it is, and stops no other.
        """
        now = time.monotonic()
        self._aside = {queue: until for queue, until in self._aside.items() if until > now}
        return [*self._release(), *self._end_grace()]

    def _release(self) -> list[reporting.Report]:
        reports: list[reporting.Report] = []
        turn = _Turn(self._policy.passage())
        while self._may_release() and not turn.is_over:
            found = self._room.to_release(limit=self._limit + len(self._aside))
            queues = [queue for queue in found if queue not in self._aside][: self._limit]
            if not queues:
                break
            reports += self._go_through(queues, self._release_some, turn, self._chunk.records)
        return reports

    def _release_some(
        self, queues: Sequence[str], *, at_most: int, failed: Mapping[draining.Culprit, failures.Failure]
    ) -> reporting.Report:
        return self._processor.release(queues, self._room.creations(queues), at_most=at_most, failed=failed)

    @property
    def _limit(self) -> int:
        return min(self.LIMIT, self._chunk.records)

    def _go_through(self, queues: Sequence[str], work: _Work, turn: _Turn, at_most: int) -> list[reporting.Report]:
        """Have it done with these queues; when it fails, with fewer of them, in the end with less of one."""
        if turn.is_over:
            return []
        began = time.monotonic()
        try:
            report = turn.passage(functools.partial(work, queues, at_most=at_most))
        except ports.Retryable:
            self._chunk.failed()  # it may have been more than the database allows one transaction
            raise
        except Exception:  # a bug that no single command is known to have
            parts = _smaller(queues, at_most)
            if not parts:
                log.exception("worker.grace_failed", queue=queues[0])
                self._aside[queues[0]] = began + ASIDE_S
                turn.is_begun = True
            return [report for part, less in parts for report in self._go_through(part, work, turn, less)]
        turn.is_begun = True
        self._chunk.took(time.monotonic() - began)
        return [report]

    def _end_grace(self) -> Sequence[reporting.Report]:
        if self._barrier is None:
            self._barrier = self._raise_barrier()
            return ()
        if not self._is_passed(self._barrier):
            return ()
        barrier, self._barrier = self._barrier, None
        found = self._room.overdue(barrier.expired_at, limit=self._limit + len(self._aside))
        overdue = [parked for parked in found if parked.queue not in self._aside][: self._limit]
        if not overdue:
            self._barrier = self._raise_barrier()
            return ()
        reports = self._expire(overdue, barrier.expired_at)
        if any(report.fates for report in reports):  # there may be more: what stood behind these
            self._barrier = barrier
        return reports

    def _raise_barrier(self) -> _Barrier | None:
        now = self._room.now()
        ends = self._ends() if self._room.overdue(now, limit=1) else None
        return None if ends is None else _Barrier(now, ends)

    def _expire(self, overdue: Sequence[unit_of_work.ParkedCommand], expired_at: datetime) -> list[reporting.Report]:
        heads = {parked.queue: parked for parked in overdue}

        def expire_some(
            queues: Sequence[str], *, at_most: int, failed: Mapping[draining.Culprit, failures.Failure]
        ) -> reporting.Report:
            some = [heads[queue] for queue in queues]
            return self._processor.expire(some, expired_at=expired_at, at_most=at_most, failed=failed)

        return self._go_through(list(heads), expire_some, _Turn(self._policy.passage()), self._chunk.records)

    def _is_passed(self, barrier: _Barrier) -> bool:
        handled = self._room.next_offsets()
        return all(handled.get(log, 0) >= end for log, end in barrier.ends.items())


def _smaller(queues: Sequence[str], at_most: int) -> Sequence[tuple[Sequence[str], int]]:
    """Return the halves of these queues, or half of what is to be done with one; nothing is left below one command."""
    if len(queues) > 1:
        middle = len(queues) // 2
        return ((queues[:middle], at_most), (queues[middle:], at_most))
    return ((queues, at_most // 2),) if at_most > 1 else ()
