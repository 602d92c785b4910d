"""What was decided on dead letters, as an operator looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy

from allocation.adapters.postgres import engine as postgres
from allocation.service_layer.operations import dead_letters

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_OF = sqlalchemy.text("""
SELECT d.partition, d."offset", d.decision, d.decided_at, d.who, d.why
FROM dead_letter_decisions AS d
JOIN unnest(CAST(:partitions AS int[]), CAST(:offsets AS bigint[])) AS letter (partition, "offset")
    ON d.partition = letter.partition AND d."offset" = letter."offset"
WHERE d.topic_id = :topic_id
""")


class PostgresDecisions:
    """See `dead_letters.Decisions`; each call is a transaction of its own."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def of(
        self, topic_id: str, places: Collection[dead_letters.Place]
    ) -> Mapping[dead_letters.Place, dead_letters.Decision]:
        """Return what was decided on these."""
        given = {
            "topic_id": topic_id,
            "partitions": [place.partition for place in places],
            "offsets": [place.offset for place in places],
        }
        with postgres.reading(self._database) as connection:
            rows = connection.execute(_OF, given)
            return {
                dead_letters.Place(row.partition, row.offset): dead_letters.Decision(
                    row.decision, row.decided_at, row.who, row.why
                )
                for row in rows
            }
