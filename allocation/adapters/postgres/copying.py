"""Bulk insert by COPY: the fastest way into a table.

Source: PostgreSQL manual, COPY, "Text Format".
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))  # the first first: it is in all of them
_NULL = "\\N"
# What is in memory several times on its way, however large the values: some thousand ordinary rows.
_CHUNK_CHARACTERS = 4 * 1024 * 1024


def copy_in(cursor: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert rows; values may be None, str, bytes, int, date or datetime."""
    names = ", ".join(f'"{column}"' for column in columns)
    for chunk in _chunks(rows):
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN", io.BytesIO(chunk))


def _chunks(rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Yield lines in few pieces, for ordinary rows in one.

    They are encoded here: within the driver's read, what cannot be encoded would look like a cancelled statement.
    """
    lines: list[str] = []
    size = 0
    for row in rows:
        line = "\t".join([_field(value) for value in row])
        lines.append(line)
        size += len(line)
        if size > _CHUNK_CHARACTERS:
            yield _joined(lines).encode()
            lines, size = [], 0
    if lines:
        yield _joined(lines).encode()


def _joined(lines: list[str]) -> str:
    lines.append("")
    return "\n".join(lines)


def _field(value: object) -> str:
    if value is None:
        return _NULL
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    return str(value)


def _escaped(value: str) -> str:
    # Nearly no value needs it, and to look is cheap. One by one: a tenth of what `str.translate` takes for a megabyte.
    if "\\" in value or "\t" in value or "\n" in value or "\r" in value:
        for character, escape in _ESCAPES:
            value = value.replace(character, escape)
    return value
