"""How far the bridge has passed events on, by reader, topic id and partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLE = tables.bridge_positions


class BridgePositions:
    """Implements `bridging.ports.Positions`; threads may share it."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def load(self, *, reader: str, topic_id: str) -> Mapping[int, int]:
        """Return the next offset by partition."""
        query = sqlalchemy.select(_TABLE.c.partition, _TABLE.c.next_offset).where(
            _TABLE.c.bridge == reader, _TABLE.c.topic_id == topic_id
        )
        with postgres.translated_errors(), self._engine.connect() as connection:
            return {row.partition: row.next_offset for row in connection.execute(query)}

    def advance(self, *, reader: str, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        """Store positions, unless a bridge that took over has stored later ones."""
        self._store(reader, topic_id, next_offsets, only_forward=True)

    def reset(self, *, reader: str, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        """Store positions, wherever they were."""
        self._store(reader, topic_id, next_offsets, only_forward=False)

    def _store(self, reader: str, topic_id: str, next_offsets: Mapping[int, int], *, only_forward: bool) -> None:
        if not next_offsets:
            return
        rows = [
            {"bridge": reader, "topic_id": topic_id, "partition": partition, "next_offset": next_offset}
            for partition, next_offset in sorted(next_offsets.items())
        ]
        insert = postgresql.insert(_TABLE)
        upsert = insert.on_conflict_do_update(
            index_elements=_TABLE.primary_key.columns,
            set_={"next_offset": insert.excluded.next_offset},
            where=_TABLE.c.next_offset < insert.excluded.next_offset if only_forward else None,
        )
        with postgres.translated_errors(), self._engine.begin() as connection:
            connection.execute(upsert, rows)
