"""Bulk insert by COPY: the fastest way into a table.

Source: PostgreSQL manual, COPY, "Text Format".
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL = "\\N"


def copy_in(cursor: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert rows; values may be None, str, bytes, int, date or datetime."""
    lines = "\n".join(["\t".join([_field(value) for value in row]) for row in rows])
    if lines:
        names = ", ".join(f'"{column}"' for column in columns)
        # Encoded here: within the driver's read, what cannot be encoded would look like a cancelled statement.
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN", io.BytesIO(f"{lines}\n".encode()))


def _field(value: object) -> str:
    if value is None:
        return _NULL
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    return str(value)


def _escaped(value: str) -> str:
    # Nearly no value needs it, and to look is much cheaper than to translate.
    if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
        return value.translate(_ESCAPES)
    return value
