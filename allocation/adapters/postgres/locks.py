"""Lock skus and batch references by name, whether they exist yet or not.

Every transaction takes its locks in the same order: batch references before skus, sorted within each,
new names inserted before any is locked. So no two transactions can wait for each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.postgres import arrays

if TYPE_CHECKING:
    from collections.abc import Collection

    from allocation.adapters.postgres import prepared

# A name that nobody used yet needs a row too: else a command that waits for it and the `CreateBatch`
# that should release it can miss each other.
_INSERT = """
INSERT INTO locks (name) SELECT name FROM unnest(%s::text[]) AS wanted (name) ORDER BY name COLLATE "C"
ON CONFLICT DO NOTHING
"""
_LOCK = "SELECT name FROM locks WHERE name = ANY(%s::text[]) ORDER BY name FOR UPDATE"


def lock(cursor: prepared.Cursor, names: Collection[str]) -> None:
    """Hold these names until the transaction ends; waits for who holds one of them."""
    wanted = set(names)
    given = arrays.texts(wanted)
    held = 0
    while held < len(wanted):  # again only when maintenance deletes a name between the two statements
        cursor.execute_in_turn((_INSERT, _LOCK), (given,))
        held = cursor.rowcount
