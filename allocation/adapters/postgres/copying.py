"""Bulk insert by COPY: the fastest way into a table.

Rows are turned into text column by column, so that the work on each value is done by Python's own
built-in functions: for a wide row a third of what a loop over its values takes.

Source: PostgreSQL manual, COPY, "Text Format".
"""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))  # the first first: it is in all of them
_NULL = "\\N"
# What is in memory several times on its way, bytes as twice their length, however large: some thousand ordinary rows.
_CHUNK_CHARACTERS = 4 * 1024 * 1024
_READ_BYTES = 1024 * 1024  # what the driver asks for at once; each time it lets go of the interpreter (default: 8 KiB)


def copy_in(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Insert rows; the values of a column are all str, bytes, int, date or datetime, or None."""
    if rows:
        copy_columns(cursor, table, columns, list(zip(*rows, strict=True)))


def copy_columns(cursor: Any, table: str, columns: Sequence[str], values: Sequence[Sequence[object]]) -> None:
    """Insert rows that are given as the values of each column."""
    names = ", ".join(f'"{column}"' for column in columns)
    for chunk in _chunks(values):
        cursor.copy_expert(f"COPY {table} ({names}) FROM STDIN", io.BytesIO(chunk), _READ_BYTES)


def _chunks(columns: Sequence[Sequence[object]]) -> Iterator[bytes]:
    """Yield lines in few pieces, for ordinary rows in one.

    They are encoded here: within the driver's read, what cannot be encoded would look like a cancelled statement.
    """
    count = len(columns[0])
    if count > 1 and sum(map(_size, columns)) > _CHUNK_CHARACTERS:
        middle = count // 2
        yield from _chunks([column[:middle] for column in columns])
        yield from _chunks([column[middle:] for column in columns])
    elif count:
        lines = list(map("\t".join, zip(*map(_texts, columns), strict=True)))
        lines.append("")
        yield "\n".join(lines).encode()


def _size(column: Sequence[Any]) -> int:
    """Return roughly how long a column's text will be, where that can be much."""
    try:
        return sum(map(len, column))
    except TypeError:  # numbers, times, or a None among the others
        return sum(map(len, filter(None, column))) if {str, bytes} & set(map(type, column)) else 0


def _texts(column: Sequence[Any]) -> Iterable[str]:
    first = column[0]
    if len(column) > 1 and column.count(first) == len(column):  # many columns have one value for a whole micro-batch
        return itertools.repeat(next(iter(_texts([first]))), len(column))
    kinds = set(map(type, column))
    if kinds == {str}:
        return _escaped(column)
    if kinds == {bytes}:
        return ["\\\\x" + value.hex() for value in column]
    if type(None) in kinds:
        return _texts_and_nulls(column)
    return map(str, column)


def _texts_and_nulls(column: Sequence[Any]) -> Iterable[str]:
    others = [value for value in column if value is not None]
    texts = iter(_texts(others) if others else ())
    return [_NULL if value is None else next(texts) for value in column]


def _escaped(values: Sequence[str]) -> Sequence[str]:
    # Nearly no value needs it, and to look is cheap.
    everything = "".join(values)
    for character, escape in _ESCAPES:
        if character in everything:
            values = [value.replace(character, escape) for value in values]
    return values
