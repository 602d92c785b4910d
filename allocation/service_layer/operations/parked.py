"""Release parked commands, or discard them.

A release is what the worker does when a batch is created: the same locks, the same handlers, the same
journal, in chunks of one transaction each, so that what comes meanwhile keeps its place behind the rest.
A command that fails again stays where it is, and so does all that stands behind it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import stamina

from allocation.service_layer import draining, failure_policy, ports, settling, unit_of_work
from allocation.service_layer.operations import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime, timedelta

    from allocation.service_layer import envelopes

CHUNK = 1000  # commands in one transaction: done within a second or two
_ATTEMPTS = 8  # a conflict with the worker, which may be busy with the same skus


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, ports.Retryable) and not isinstance(error, ports.DependencyDown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which parked commands are meant; what is empty does not matter."""

    ids: Collection[int] = ()
    queues: Collection[str] = ()
    states: Collection[str] = ()


class Listed(NamedTuple):
    """A parked command, since when, and for how many seconds by the database's clock."""

    parked: unit_of_work.ParkedCommand
    parked_at: datetime
    age_s: float


class Room(Protocol):
    """The parked commands, outside of any unit of work."""

    def head(self, queue: str, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        """Return the oldest commands of a queue, and its first poisoned one wherever that stands."""

    def find(self, wanted: Filter, *, limit: int | None) -> Sequence[Listed]:
        """Return parked commands, the oldest first."""


@dataclass(slots=True)
class Released:
    """What became of a queue: how many were handled and refused; `failure` says which command stopped it, and how."""

    queue: str
    counts: Counter[str] = field(default_factory=Counter)
    failure: str | None = None


class _Failed(Exception):
    """A command failed unexpectedly, `after` so many others; nothing of this unit of work was done."""

    def __init__(self, culprit: unit_of_work.ParkedCommand, *, after: int, error: Exception) -> None:
        super().__init__(failure_policy.sentence(error))
        self.culprit = culprit
        self.after = after


class _Step(NamedTuple):
    """What one transaction is to do: `retried` is the poisoned command to try, `poisoned` one that has just failed."""

    queue: str
    retried: int | None
    limit: int
    poisoned: _Failed | None = None


class ParkedCommands:
    """Works on one installation, also while workers run; every method blocks."""

    def __init__(
        self,
        *,
        room: Room,
        begin: Callable[[], audit.OperatorUnitOfWork],
        envelopes: envelopes.Envelopes,
        grace: timedelta,
    ) -> None:
        self._room = room
        self._begin = begin
        self._envelopes = envelopes
        self._grace = grace

    def find(self, wanted: Filter, *, limit: int | None = None) -> Sequence[Listed]:
        """Return parked commands, the oldest first."""
        return self._room.find(wanted, limit=limit)

    def release(self, queue: str, note: audit.Note) -> Released:
        """Try the poisoned command of a queue again, then what stands behind it, until one must stay."""
        return self._release(queue, note, retries_poisoned=True)

    def discard(self, commands: Sequence[unit_of_work.ParkedCommand], note: audit.Note) -> list[Released]:
        """Send parked commands to the dead letters, and go on with what stood behind them.

        `counts` has them as `discarded`; what was gone already is not counted.
        """
        by_queue: dict[str, list[unit_of_work.ParkedCommand]] = {}
        for parked in commands:
            by_queue.setdefault(parked.queue, []).append(parked)
        results = []
        for queue, of_queue in by_queue.items():
            gone = sum(self._discard(of_queue[begin : begin + CHUNK], note) for begin in range(0, len(of_queue), CHUNK))
            result = self._release(queue, note, retries_poisoned=False)
            result.counts["discarded"] = gone
            results.append(result)
        return results

    @stamina.retry(on=_is_conflict, attempts=_ATTEMPTS, timeout=None, wait_initial=0.05)
    def _discard(self, commands: Sequence[unit_of_work.ParkedCommand], note: audit.Note) -> int:
        ids = {parked.id for parked in commands}
        with self._begin() as uow:
            uow.claim([parked.message for parked in commands])
            batch = self._batch(uow)
            there = [parked for parked in uow.parked({commands[0].queue}) if parked.id in ids]
            for parked in there:
                batch.discard(parked, why=note.why)
            uow.write_audit(audit.Entry("parked.discarded", described(parked), note) for parked in there)
            batch.finish()
            uow.commit()
        return len(there)

    def _release(self, queue: str, note: audit.Note, *, retries_poisoned: bool) -> Released:
        result = Released(queue)
        while True:
            step = _Step(queue, self._first_poisoned(queue) if retries_poisoned else None, CHUNK)
            try:
                done = self._step(step, note)
            except _Failed as failed:
                result.failure = f"{described(failed.culprit)} fails: {failed}"
                result.counts.update(self._step_up_to(failed, step, note))
                break
            if not done:
                break
            result.counts.update(done)
        return result

    def _step_up_to(self, failed: _Failed, step: _Step, note: audit.Note) -> Counter[str]:
        """Do the part of a transaction before the command that has failed, and park that as poisoned."""
        was_poisoned = failed.culprit.state == "poisoned"
        if failed.culprit.queue != step.queue or (was_poisoned and not failed.after):
            return Counter()
        try:
            return self._step(step._replace(limit=failed.after, poisoned=failed), note)
        except _Failed:  # not as before: the worker was in between; it can be tried again
            return Counter()

    def _first_poisoned(self, queue: str) -> int | None:
        return next((one.id for one in self._room.head(queue, limit=1) if one.state == "poisoned"), None)

    @stamina.retry(on=_is_conflict, attempts=_ATTEMPTS, timeout=None, wait_initial=0.05)
    def _step(self, step: _Step, note: audit.Note) -> Counter[str]:
        """Do one transaction; return what became of how many commands."""
        chunk = self._room.head(step.queue, limit=CHUNK)
        if not chunk:
            return Counter()
        with self._begin() as uow:
            uow.claim([parked.message for parked in chunk])
            batch = self._batch(uow)
            terms = draining.Terms(claimed={one.id for one in chunk}, retried=step.retried, limit=step.limit)
            way = batch.way_through(terms)
            _go(way, step.queue)
            self._repark(uow, step, way)
            if way.ended or way.retried_waits or step.poisoned:
                uow.write_audit([audit.Entry("parked.released", _summary(step, chunk, way), note)])
                batch.finish()
                uow.commit()
        return way.counts

    def _repark(self, uow: audit.OperatorUnitOfWork, step: _Step, way: draining.Draining) -> None:
        """Say why those stay that were tried and must stay; they keep their places."""
        for parked in uow.parked({step.queue}):
            if parked.id == step.retried and way.retried_waits is not None:
                reason, error = way.retried_waits.reason, way.retried_waits.error
                expires_at = uow.now + self._grace
                uow.repark(parked, state="waiting", reason=reason, error=error, expires_at=expires_at)
            elif step.poisoned is not None and parked.id == step.poisoned.culprit.id:
                uow.repark(parked, state="poisoned", reason="failed", error=str(step.poisoned), expires_at=None)

    def _batch(self, uow: audit.OperatorUnitOfWork) -> settling.MicroBatch:
        return settling.MicroBatch(uow, envelopes=self._envelopes, grace=self._grace)


def described(parked: unit_of_work.ParkedCommand) -> str:
    """Return which command this is, for people."""
    record = parked.message.record
    return f"{parked.id} in {parked.queue} ({record.topic}/{record.partition}/{record.offset})"


def _go(way: draining.Draining, queue: str) -> None:
    """Go through a queue; raises `_Failed` with the command that fails."""
    try:
        way.run({queue})
    except ports.Retryable:
        raise
    except Exception as error:
        if way.trying is None:
            raise
        raise _Failed(way.trying, after=way.ended, error=error) from error


def _summary(step: _Step, chunk: Sequence[unit_of_work.ParkedCommand], way: draining.Draining) -> str:
    head = next((one for one in chunk if one.id == step.retried), chunk[0])
    done = ", ".join(f"{count} {what}" for what, count in way.counts.items()) or "none ended"
    return f"{described(head)} and behind it: {done}"
