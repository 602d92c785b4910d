"""The rows that say what operators changed; written in the transaction of the change, never changed themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import copying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allocation.service_layer.operations import audit

_COLUMNS = ("who", "what", "subject", "why")


def write(cursor: Any, entries: Iterable[audit.Entry]) -> None:
    """Add rows; the caller commits."""
    rows = [(entry.note.who, entry.what, entry.subject, entry.note.why) for entry in entries]
    copying.copy_in(cursor, "audit", _COLUMNS, rows)
