"""Relays that lack a remedy each."""

# ruff: noqa: SLF001 - what is taken out lies inside

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import outbox_rows
from allocation.service_layer.relaying import passes, ports, recovery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GONE = "DELETE FROM outbox WHERE shard = %s AND id <= %s"


def deletes_first() -> None:
    """Delete the rows, then send them."""

    def relay(self: passes.ShardRelay, rows: Sequence[ports.Row]) -> None:
        checkpoint = self._checkpoint(rows)
        self._settle(checkpoint)
        self._transactions.send(rows, checkpoint)

    def unsettled(*_: Any, **__: Any) -> None:
        """See nothing odd in a database that is ahead of its topic."""

    passes.ShardRelay._relay = relay  # type: ignore[method-assign]
    recovery.unsettled = unsettled


def forgets_its_checkpoint() -> None:
    """Recover nothing after a crash: what is in the outbox is sent."""

    def unsettled(*_: Any, **__: Any) -> None:
        pass

    recovery.unsettled = unsettled


def by_last_id() -> None:
    """Go on behind the last id that was sent."""
    original = outbox_rows.OutboxRows.read
    last = 0

    def read(self: outbox_rows.OutboxRows, *, limit: int) -> ports.Window:
        nonlocal last
        self._cursor.execute(_GONE, (self._shard, last))
        window = original(self, limit=limit)
        rows = [row for row in window.rows if row[0] > last]
        last = max((row[0] for row in rows), default=last)
        return ports.Window(rows, is_cut=window.is_cut, state=window.state)

    outbox_rows.OutboxRows.read = read  # type: ignore[method-assign]


VARIANTS: Iterable[Any] = (deletes_first, forgets_its_checkpoint, by_last_id)
