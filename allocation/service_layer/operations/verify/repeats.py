"""Messages that lie on their topic a second time, where that may be: what at_least_once sends again is no finding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocation.service_layer import messages

# The end is a time of the database, a record has one of the relay's machine: their clocks differ by that much at most.
_CLOCKS = timedelta(minutes=1)


class Repeats:
    """Counts repeats that were sent while events were delivered at least once; `until` None: they never were."""

    def __init__(self, *, until: datetime | None) -> None:
        self._until = until and until + _CLOCKS
        self.count = 0

    def allow(self, record: messages.Record) -> bool:
        """Tell whether this record may be a repeat, and count it then."""
        sent_at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        is_allowed = self._until is not None and sent_at <= self._until
        self.count += is_allowed
        return is_allowed
