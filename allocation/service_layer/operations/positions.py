"""How far each log of commands is handled, and what an operator decides where that no longer fits the log.

A worker handles nothing of a log that is not the one which the database knows: made anew, truncated, or
overtaken by retention. `adopt` takes the log as it is, from an offset on; what lies before is not handled,
and the journal says so. `restart` is the same from its first record: the inbox still knows what was handled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from allocation.service_layer import messages, unit_of_work
from allocation.service_layer.operations import audit, conflicts
from allocation.service_layer.operations.replay import ports, skipping

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from allocation.service_layer.operations.verify import ports as verify

Where = int | Literal["begin", "end"]

_ATTEMPTS = 5  # of what only another operator can be in the way of


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A partition of a command topic.

    `bounds`: what Kafka holds of it, None without a topic. `position`: how far that log is handled, None where nothing
    of it ever was. `problem`: why that does not fit, None when it does. `gone`: logs of the same name, in topics that
    are no more, whose positions the database still has.
    """

    at: ports.TopicPartition
    bounds: verify.Bounds | None
    position: unit_of_work.Position | None
    problem: str | None
    gone: tuple[messages.LogPartition, ...] = ()


class Examine(Protocol):
    """Looks at all partitions of the command topics; blocks."""

    def __call__(self) -> Sequence[Examined]:
        """Return what was found, in the order of topics and partitions."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A partition that goes on at `next_offset`; it stood at `before`, None in another log."""

    at: ports.TopicPartition
    before: int | None
    next_offset: int


class Positions:
    """Works on one installation, also while workers run; every method blocks."""

    def __init__(self, *, examine: Examine, begin: Callable[[], audit.OperatorUnitOfWork]) -> None:
        self._examine = examine
        self._begin = begin

    def examine(self) -> Sequence[Examined]:
        """Return all partitions of the command topics."""
        return self._examine()

    @conflicts.retried(attempts=_ATTEMPTS)
    def decide(
        self,
        topic: str,
        where: Where,
        note: audit.Note,
        *,
        what: str,
        partitions: Collection[int] = (),
        dry_run: bool = False,
    ) -> list[Decided]:
        """Let the partitions of a topic that do not fit go on there, all of them if none is given, in one transaction.

        `what` is the audit's word. Raises `CannotReplay` where there is nothing to decide, or no such offset.
        """
        held = _held([one for one in self._examine() if one.at.topic == topic], topic, partitions)
        decided = [Decided(one.at, _before(one), _offset(one, where)) for one in held]
        if not dry_run:
            with self._begin() as uow:
                for one, decision in zip(held, decided, strict=True):
                    _write(uow, one, decision.next_offset)
                entries = [entry for one, new in zip(held, decided, strict=True) for entry in _skipped(one, new)]
                if entries:
                    uow.journal(entries)
                uow.write_audit(audit.Entry(f"position.{what}", _subject(one), note) for one in decided)
                uow.commit()
        return decided


def _held(found: Sequence[Examined], topic: str, partitions: Collection[int]) -> list[Examined]:
    if not found:
        raise ports.CannotReplay(f"{topic} is no command topic of this installation")
    wanted = [one for one in found if not partitions or one.at.partition in partitions]
    missing = sorted(set(partitions) - {one.at.partition for one in wanted})
    if missing:
        raise ports.CannotReplay(f"{topic} has no partition {', '.join(map(str, missing))}")
    held = [one for one in wanted if one.problem is not None]
    if not held:
        raise ports.CannotReplay(
            f"nothing is to be decided on {topic}: the positions fit; `allocation replay skip` passes over records"
        )
    return held


def _offset(one: Examined, where: Where) -> int:
    bounds = _bounds(one)
    if where == "begin":
        return bounds.begin
    if where == "end":
        return bounds.end
    if not bounds.begin <= where <= bounds.end:
        raise ports.CannotReplay(f"{one.at} holds offsets {bounds.begin} to {bounds.end}; there is no {where}")
    return where


def _bounds(one: Examined) -> verify.Bounds:
    if one.bounds is None:
        raise ports.CannotReplay(f"there is no topic {one.at.topic}; `allocation init` creates it")
    return one.bounds


def _before(one: Examined) -> int | None:
    return None if one.position is None else one.position.next_offset


def _write(uow: audit.OperatorUnitOfWork, one: Examined, next_offset: int) -> None:
    """Set the position; there is no last record to recognise, and by that the worker knows that it was decided."""
    log = messages.LogPartition(_bounds(one).topic_id, one.at.partition)
    uow.forget(one.gone)
    uow.advance(log, expected=one.position, new=unit_of_work.Position(one.at.topic, next_offset, 0, -1, b""))


def _skipped(one: Examined, decided: Decided) -> list[unit_of_work.JournalEntry]:
    """Return what the journal is told: which records of the log as it is are passed over."""
    first = max(_bounds(one).begin, decided.before or 0)
    if first >= decided.next_offset:
        return []
    return [unit_of_work.JournalEntry(skipping.SKIPPED, *one.at, first, decided.next_offset - 1)]


def _subject(decided: Decided) -> str:
    before = "a log that is gone" if decided.before is None else f"offset {decided.before}"
    return f"{decided.at} from {before} to offset {decided.next_offset}"
