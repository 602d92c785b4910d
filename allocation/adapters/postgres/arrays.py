"""Arrays as literals, to be given where a statement says `%s::text[]` or the like.

The driver writes a list as `ARRAY['…', …]`, which the server has to parse and plan element by element:
for two columns of two thousand ids 5 ms instead of 1.

Source: PostgreSQL manual, "Array Input and Output Syntax".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def texts(values: Collection[str]) -> str:
    """Return an array of text."""
    if not values:
        return "{}"
    inside = '","'.join(values)
    # Nearly no value needs escaping, and to look is cheap.
    if "\\" in inside or inside.count('"') != 2 * (len(values) - 1):
        inside = '","'.join([value.replace("\\", "\\\\").replace('"', '\\"') for value in values])
    return '{"' + inside + '"}'


def numbers(values: Collection[int]) -> str:
    """Return an array of integers."""
    return "{" + ",".join(map(str, values)) + "}"


def columns(rows: Collection[Any]) -> tuple[object, ...]:
    """Return an array for each column of these rows, of which there is at least one."""
    return tuple(map(of_values, zip(*rows, strict=True)))


def of_values(column: Sequence[Any]) -> object:
    """Return an array of any values; a list, where the driver must write it."""
    kinds = set(map(type, column))
    if kinds == {str}:
        return texts(column)
    if kinds == {int}:
        return numbers(column)
    return list(column)
