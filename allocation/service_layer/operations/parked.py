"""Release parked commands, or discard them.

A release is what the worker does when a batch is created: the same locks, the same handlers, the same
journal, in chunks of one transaction each, so that what comes meanwhile keeps its place behind the rest.
A command that fails again stays where it is, and so does all that stands behind it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from allocation.service_layer import draining, settling, unit_of_work
from allocation.service_layer.operations import audit, conflicts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime, timedelta

    from allocation.service_layer import envelopes

_ATTEMPTS = 8  # a conflict with the worker, which may be busy with the same skus


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


class _Step(NamedTuple):
    """What one transaction is to do: `retried` is the poisoned command to try, `failed` one that has just failed."""

    queue: str
    retried: int | None
    failed: draining.Failed | None = None

    @property
    def sought(self) -> Collection[int]:
        """The ids that are loaded wherever they stand."""
        return () if self.retried is None else (self.retried,)

    @property
    def poisons(self) -> bool:
        """Whether a command is poisoned that was not before."""
        return self.failed is not None and self.failed.parked.state != "poisoned"

    def terms(self, chunk: Sequence[unit_of_work.ParkedCommand]) -> draining.Terms:
        """Say how far to go."""
        failed = {} if self.failed is None else {self.failed.culprit: self.failed.failure}
        return draining.Terms(claimed={one.id for one in chunk}, retried=self.retried, failed=failed)


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
            chunk = unit_of_work.QUEUE_CHUNK
            gone = sum(self._discard(of_queue[begin : begin + chunk], note) for begin in range(0, len(of_queue), chunk))
            result = self._release(queue, note, retries_poisoned=False)
            result.counts["discarded"] = gone
            results.append(result)
        return results

    @conflicts.retried(attempts=_ATTEMPTS)
    def _discard(self, commands: Sequence[unit_of_work.ParkedCommand], note: audit.Note) -> int:
        ids = {parked.id for parked in commands if parked.id is not None}
        queue = {commands[0].queue}
        with self._begin() as uow:
            uow.claim([parked.message for parked in commands], oldest_of=queue, ids=ids)
            batch = self._batch(uow)
            there = [parked for parked in uow.parked(queue) if parked.id in ids]
            for parked in there:
                batch.discard(parked, why=note.why)
            uow.write_audit(audit.Entry("parked.discarded", described(parked), note) for parked in there)
            uow.release_later(queue)
            batch.finish()
            uow.commit()
        return len(there)

    def _release(self, queue: str, note: audit.Note, *, retries_poisoned: bool) -> Released:
        result = Released(queue)
        while True:
            step = _Step(queue, self._first_poisoned(queue) if retries_poisoned else None)
            try:
                done = self._step(step, note)
            except draining.Failed as failed:
                result.failure = f"{described(failed.parked)} fails: {failed}"
                result.counts.update(self._step_up_to(failed, step, note))
                break
            if not done:
                break
            result.counts.update(done)
        return result

    def _step_up_to(self, failed: draining.Failed, step: _Step, note: audit.Note) -> Counter[str]:
        """Do the part of a transaction before the command that has failed, and park that as poisoned."""
        try:
            return self._step(step._replace(failed=failed), note)
        except draining.Failed:  # not as before: the worker was in between; it can be tried again
            return Counter()

    def _first_poisoned(self, queue: str) -> int | None:
        return next((one.id for one in self._room.head(queue, limit=1) if one.state == "poisoned"), None)

    @conflicts.retried(attempts=_ATTEMPTS)
    def _step(self, step: _Step, note: audit.Note) -> Counter[str]:
        """Do one transaction; return what became of how many commands."""
        queue = {step.queue}
        chunk = self._room.head(step.queue, limit=unit_of_work.QUEUE_CHUNK)
        if not chunk:
            return Counter()
        with self._begin() as uow:
            uow.claim([parked.message for parked in chunk], oldest_of=queue, ids=step.sought)
            batch = self._batch(uow)
            way = batch.go_through(queue, step.terms(chunk))
            if way.ended or way.retried_waits or step.poisons:
                uow.write_audit([audit.Entry("parked.released", _summary(step, chunk, way), note)])
                uow.release_ended(queue - way.unfinished)
                batch.finish()
                uow.commit()
        return way.counts

    def _batch(self, uow: audit.OperatorUnitOfWork) -> settling.MicroBatch:
        return settling.MicroBatch(uow, envelopes=self._envelopes, grace=self._grace)


def described(parked: unit_of_work.ParkedCommand) -> str:
    """Return which command this is, for people."""
    record = parked.message.record
    return f"{parked.id} in {parked.queue} ({record.topic}/{record.partition}/{record.offset})"


def _summary(step: _Step, chunk: Sequence[unit_of_work.ParkedCommand], way: draining.Draining) -> str:
    head = next((one for one in chunk if one.id == step.retried), chunk[0])
    done = ", ".join(f"{count} {what}" for what, count in way.counts.items()) or "none ended"
    return f"{described(head)} and behind it: {done}"
