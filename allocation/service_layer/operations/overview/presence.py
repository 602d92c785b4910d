"""Which workers are gone although the group still counts on them.

Kafka misses a worker when its session is over; the database loses the connections of one that was killed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from allocation.service_layer.operations import status

# Kafka is asked who is in the group every two seconds, so that one that has left in order may be listed for so long.
_LISTED_S = 2.0


class Presence:
    """Remembers who was connected to the database."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._missing_since: dict[str, float] = {}

    def look(
        self, connected: Collection[str], members: Collection[status.Member] | None, *, at_s: float
    ) -> Iterator[str]:
        """Yield who is gone, by the name of its connections.

        A member of the group that is static has the same name; of the others only their number is known.
        """
        if members is None:
            return
        missing = self._known.difference(connected)
        # The server keeps the beginning of a long name.
        counted_on = {name for name in missing if any(member.name.startswith(name) for member in members)}
        if len(members) - len(counted_on) <= len(connected):
            missing = counted_on
        self._known = missing.union(connected)
        self._missing_since = {name: self._missing_since.get(name, at_s) for name in sorted(missing)}
        for name, since_s in self._missing_since.items():
            if name in counted_on or at_s - since_s >= _LISTED_S:
                yield name
