"""Where to read a partition from: the database's position, if the log still is the one that it belongs to.

The group's offset is advisory and may be moved back at will. `auto.offset.reset` never decides: a
topic that was deleted and made anew goes on at offset 0 without any error.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from allocation.adapters.kafka import topics
from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from allocation.service_layer import unit_of_work

Key = topics.TopicPartition


class Place(NamedTuple):
    """Where reading starts; `recognise` when the record there is the one that was handled last.

    `after` says how far other logs must be handled first: adding partitions moves keys, and what was sent
    for a key before that lies in another partition; and what is allocated should find its batches there.
    """

    topic_id: str
    offset: int
    recognise: bool
    after: Mapping[messages.LogPartition, int] = MappingProxyType({})


class Misfit(NamedTuple):
    """Why a log is not the one that the stored position belongs to."""

    problem: str


class Placement:
    """Looks at topic ids, log bounds and stored positions together."""

    def __init__(
        self,
        admin: topics.TopicAdmin,
        *,
        names: Sequence[str],
        stored: Callable[[], Mapping[messages.LogPartition, unit_of_work.Position]],
        first: str | None = None,
    ) -> None:
        self._admin = admin
        self._names = names
        self._stored = stored
        self._first = first

    def topic_ids(self, names: Collection[str]) -> Mapping[str, str]:
        """Return the ids of those of these topics that exist; blocks, raises `DependencyDown`."""
        return {name: topic.topic_id for name, topic in self._admin.describe(names).items()} if names else {}

    def of(self, keys: Collection[Key], committed: Mapping[Key, int]) -> dict[Key, Place | Misfit]:
        """Return the place of each of these partitions; blocks, raises `DependencyDown` when it cannot be known."""
        described = self._admin.describe(self._names)
        stored = self._stored()
        bounds = self._admin.watermarks(_partitions(described))
        places: dict[Key, Place | Misfit] = {}
        for key in keys:
            if key.topic in described:
                topic_id = described[key.topic].topic_id
                places[key] = place(key, topic_id, stored, bounds, committed.get(key))
            else:
                places[key] = Misfit("the topic does not exist any more")
        return {key: self._in_turn(key, where, places, stored, bounds) for key, where in places.items()}

    def decided(self, keys: Collection[Key]) -> dict[Key, Place]:
        """Return the places of those that an operator has decided on: such a position has no last record to recognise.

        Blocks, and raises `DependencyDown`.
        """
        stored = self._stored()
        return {
            key: where
            for key, where in self.of(keys, {}).items()
            if isinstance(where, Place)
            and _is_decided(stored.get(messages.LogPartition(where.topic_id, key.partition)))
        }

    def _in_turn(
        self,
        key: Key,
        where: Place | Misfit,
        places: Mapping[Key, Place | Misfit],
        stored: Mapping[messages.LogPartition, unit_of_work.Position],
        bounds: Mapping[Key, topics.Watermarks],
    ) -> Place | Misfit:
        """Let a partition wait for what has piled up in that of the same number of the topic that comes first.

        In a backlog each command read before its batch would be parked, and all be released by one transaction.
        """
        if self._first in (None, key.topic) or isinstance(where, Misfit):
            return where
        before = Key(self._first, key.partition)
        placed = places.get(before)
        if not isinstance(placed, Place):
            return where
        log, marks = messages.LogPartition(placed.topic_id, key.partition), bounds[before]
        if (stored[log].next_offset if log in stored else marks.begin) >= marks.end:
            return where
        return where._replace(after={**where.after, log: marks.end})

    def are_passed(self, after: Mapping[messages.LogPartition, int]) -> bool:
        """Tell whether these logs are handled so far; raises `DependencyDown`."""
        stored = self._stored()
        return all(log in stored and stored[log].next_offset >= offset for log, offset in after.items())


def place(
    key: Key,
    topic_id: str,
    stored: Mapping[messages.LogPartition, unit_of_work.Position],
    all_bounds: Mapping[Key, topics.Watermarks],
    committed: int | None,
) -> Place | Misfit:
    """Place one partition.

    It is read from the record that was handled last, so that this can be recognised, or from the group's
    offset if that was moved back; without a position from the start of the log.
    """
    position = stored.get(messages.LogPartition(topic_id, key.partition))
    bounds = all_bounds[key]
    if position is None:
        return _first_place(key, topic_id, stored, all_bounds)
    if not bounds.begin <= position.next_offset <= bounds.end:
        return Misfit(f"the log holds {bounds.begin} to {bounds.end}, but the next to handle is {position.next_offset}")
    start = position.last_offset if position.last_offset >= bounds.begin else position.next_offset
    if committed is not None and bounds.begin <= committed < start:
        return Place(topic_id, committed, recognise=False)
    return Place(topic_id, start, recognise=start == position.last_offset)


def _first_place(
    key: Key,
    topic_id: str,
    stored: Mapping[messages.LogPartition, unit_of_work.Position],
    all_bounds: Mapping[Key, topics.Watermarks],
) -> Place | Misfit:
    """Place a partition of which nothing was ever handled: new with its topic, or added to it since."""
    known = {log for log, position in stored.items() if position.topic == key.topic}
    other = next((log.topic_id for log in known if log.topic_id != topic_id), None)
    if other is not None:
        return Misfit(f"the topic was re-created: its id is {topic_id}, handled so far was {other}")
    ends = {log: all_bounds[Key(key.topic, log.partition)].end for log in known}
    return Place(topic_id, all_bounds[key].begin, recognise=False, after=ends)


def _is_decided(position: unit_of_work.Position | None) -> bool:
    return position is not None and position.last_offset < 0


def _partitions(described: Mapping[str, topics.TopicDescription]) -> list[Key]:
    return [Key(name, number) for name, topic in described.items() for number in range(topic.partitions)]
