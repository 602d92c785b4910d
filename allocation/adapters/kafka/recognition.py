"""Whether the topics still are those in which the partitions were placed.

Guards that nothing is handled of a topic that was deleted and made anew: there the client goes on at the offset where
it was in the old one, without any error.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.adapters.kafka import assignment, placement
    from allocation.service_layer import messages

_INTERVAL_S = 2.0  # how often it is asked while nothing arrives
_REST_S = 30.0  # when that cannot be told: asking takes up to ten seconds then


class Recognition:
    """Has the partitions of another topic placed anew; used by one thread."""

    def __init__(self, places: placement.Placement, partitions: assignment.Assignment) -> None:
        self._places = places
        self._partitions = partitions
        self._quiet_until = 0.0

    def of_the_same_topics(self, records: list[messages.Record]) -> Sequence[messages.Record]:
        """Return those of the same topics; raises `DependencyDown` when that cannot be told.

        An id that is the same now was the same when these were fetched. Asking takes less than a millisecond.
        """
        names = {record.topic for record in records}
        try:
            found = self._places.topic_ids(names)
        except ports.DependencyDown:
            self._partitions.look_again_at(names)
            raise
        made_anew = {name for name in names if found.get(name) != self._partitions.topic_ids[name]}
        if not made_anew:
            return records
        self._partitions.look_again_at(made_anew)
        return [record for record in records if record.topic not in made_anew]

    def look(self) -> None:
        """Notice now and then that a topic was made anew of which nothing arrives: it is as long as the old one was."""
        if time.monotonic() < self._quiet_until:
            return
        known = self._partitions.topic_ids
        try:
            found = self._places.topic_ids(known)
        except ports.DependencyDown:  # nothing arrives in any case
            self._quiet_until = time.monotonic() + _REST_S
            return
        self._quiet_until = time.monotonic() + _INTERVAL_S
        self._partitions.look_again_at(name for name in known if found.get(name, known[name]) != known[name])
