"""The worker's unit of work with what an operator does besides, in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.postgres import audit_rows, engine, positions, unit_of_work
from allocation.service_layer.operations import audit, dead_letters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from allocation.service_layer import messages

# Sorted, so that two who decide on the same dead letters wait for each other in one order.
_DECIDE = """
INSERT INTO dead_letter_decisions AS d (topic_id, partition, "offset", decision, decided_at, who, why)
SELECT %s, partition, "offset", %s, now(), %s, %s
FROM unnest(%s::int[], %s::bigint[]) AS letter (partition, "offset") ORDER BY partition, "offset"
ON CONFLICT (topic_id, partition, "offset") DO UPDATE
    SET decision = excluded.decision, decided_at = excluded.decided_at, who = excluded.who, why = excluded.why
    WHERE d.decision = 'discarded' AND excluded.decision = 'redriven'
RETURNING partition, "offset"
"""


class PostgresOperatorUnitOfWork(unit_of_work.PostgresUnitOfWork):
    """See `audit.OperatorUnitOfWork`."""

    def write_audit(self, entries: Iterable[audit.Entry]) -> None:
        """Write rows of the audit."""
        with engine.translated_errors():
            audit_rows.write(self._cursor, entries)

    def decide(
        self, topic_id: str, places: Collection[dead_letters.Place], *, decision: str, note: audit.Note
    ) -> Collection[dead_letters.Place]:
        """Write what becomes of dead letters; return those of which it is new."""
        partitions, offsets = [place.partition for place in places], [place.offset for place in places]
        with engine.translated_errors():
            self._cursor.execute(_DECIDE, (topic_id, decision, note.who, note.why, partitions, offsets))
            return {dead_letters.Place(*row) for row in self._cursor.fetchall()}

    def forget(self, logs: Collection[messages.LogPartition]) -> None:
        """Delete the positions of logs that are no more."""
        with engine.translated_errors():
            positions.forget(self._cursor, logs)
