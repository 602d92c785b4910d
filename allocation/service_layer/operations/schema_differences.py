"""What differs between two versions of a schema, field by field, for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECORD = ""  # stands in place of a field's name where the record itself differs


class Difference(NamedTuple):
    """One property that differs, as JSON; None where one side does not have it.

    A field that only one side has differs in its whole self: `name` is then empty.
    """

    field: str
    name: str
    old: str | None
    new: str | None


def differences(*, old: str, new: str) -> tuple[Difference, ...]:
    """Return all differences between two records, docs included, fields in the order of the new one."""
    before, after = json.loads(old), json.loads(new)
    return tuple(_all(before, after))


def _all(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    yield from _properties(RECORD, _without(before, "fields"), _without(after, "fields"))
    had = {field["name"]: field for field in before["fields"]}
    has = {field["name"]: field for field in after["fields"]}
    for name in (*has, *(name for name in had if name not in has)):
        if name in had and name in has:
            yield from _properties(name, had[name], has[name])
        else:
            yield Difference(name, "", _json(had, name), _json(has, name))
    yield from _order([name for name in had if name in has], [name for name in has if name in had])


def _properties(field: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        old, new = _json(before, name), _json(after, name)
        if old != new:
            yield Difference(field, name, old, new)


def _order(before: list[str], after: list[str]) -> Iterator[Difference]:
    if before != after:
        yield Difference(RECORD, "order of fields", json.dumps(before), json.dumps(after))


def _json(properties: Mapping[str, Any], name: str) -> str | None:
    if name not in properties:
        return None
    found = properties[name]
    return json.dumps(_without(found, "name") if isinstance(found, dict) and "name" in found else found)


def _without(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key != name}
