"""What is where: how far each log goes back, how far it is handled, and what a replay would cover. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer.operations.replay import targets

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from allocation.service_layer.operations.replay import ports
    from allocation.service_layer.operations.verify import ports as verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One partition. Offsets count the markers of transactions, too.

    `removed`: offsets that retention has taken from its beginning. `position` and `committed` only for commands;
    `start`, `covered` and `is_cut` only with a time: where a replay from then begins, how many offsets it reads, and
    whether older ones of that time may be among those removed.
    """

    topic: str
    partition: int
    begin: int
    first_at: datetime | None
    end: int
    newest_at: datetime | None
    removed: int
    position: int | None
    committed: int | None
    start: int | None
    covered: int | None
    is_cut: bool


class Planner:
    """Looks at the logs of one installation; every method blocks."""

    def __init__(
        self, *, logs: ports.Logs, group: ports.Group, positions: ports.Positions, command_topics: Collection[str]
    ) -> None:
        self._logs = logs
        self._group = group
        self._positions = positions
        self._command_topics = frozenset(command_topics)

    def plan(self, names: Sequence[str], *, partitions: Collection[int] = (), since: datetime | None) -> list[Line]:
        """Return a line for each partition of these topics, in the order of the topics."""
        bounds = targets.chosen(self._logs.bounds(names), partitions)
        times = self._logs.times(bounds)
        starts = None if since is None else self._logs.offsets_at(bounds, since)
        stored, committed = self._positions(), self._group.committed(bounds)
        lines = []
        for at, one in sorted(bounds.items(), key=lambda item: (names.index(item[0].topic), item[0].partition)):
            position = stored.get(messages.LogPartition(one.topic_id, at.partition))
            start = None if starts is None else starts.get(at, one.end)
            first = times[at].first
            lines.append(
                Line(
                    topic=at.topic,
                    partition=at.partition,
                    begin=one.begin,
                    first_at=first,
                    end=one.end,
                    newest_at=times[at].newest,
                    removed=one.begin,
                    position=self._position(at, one, None if position is None else position.next_offset),
                    committed=committed.get(at),
                    start=start,
                    covered=None if start is None else one.end - start,
                    is_cut=_is_cut(one, first, since),
                )
            )
        return lines

    def _position(self, at: ports.TopicPartition, bounds: verify.Bounds, next_offset: int | None) -> int | None:
        if at.topic not in self._command_topics:
            return None
        return bounds.begin if next_offset is None else next_offset


def _is_cut(bounds: verify.Bounds, first: datetime | None, since: datetime | None) -> bool:
    if since is None or not bounds.begin:
        return False
    return first is None or since < first
