"""Which schemas of others we dare to read with.

The Avro library recurses in C, without a limit, where a schema is nested deeply or refers to itself,
and loops for as long as a length says where items take no bytes: one message of some kilobytes would
crash or hang the process again and again. So a schema is looked through here, before the library
sees it. What is read with an admitted schema costs time and memory in proportion to the message.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

# Ours have under 1 kB, are nested 3 deep and take 9 steps; all leave room for anyone's extra fields.
MAX_DEFINITION_CHARS = 200_000
MAX_DEPTH = 32
MAX_STEPS = 500

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


class NotAdmitted(Exception):
    """A schema that no command or event can be read with; says why."""


class _Cost(NamedTuple):
    """What reading one value of a type takes: whether any bytes, how many steps, how deep a recursion."""

    takes_bytes: bool
    steps: int
    depth: int


def admit(definition: str) -> dict[str, Any]:
    """Return the record that a schema describes, in Avro's JSON form; raises `NotAdmitted`."""
    if len(definition) > MAX_DEFINITION_CHARS:
        msg = f"it is {len(definition)} characters long; at most {MAX_DEFINITION_CHARS} are read"
        raise NotAdmitted(msg)
    try:
        schema = json.loads(definition)
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise NotAdmitted("it describes no Avro record")
        _check(_Inspection().cost(schema))
    except ValueError as error:
        raise NotAdmitted("it is no Avro schema in JSON") from error
    except RecursionError as error:
        raise NotAdmitted("it is nested too deeply") from error
    return schema


def record_name(schema: dict[str, Any]) -> str:
    """Return a type's name without its namespace, which is what Avro compares."""
    return str(schema.get("name")).rpartition(".")[2]


def shape(schema: Any) -> object:
    """Reduce a schema to what encoding and decoding depend on: no docs, defaults or properties of others.

    Java's generated classes register `{"type": "string", "avro.java.string": "String"}` where we say
    `"string"`: the same shape.
    """
    match schema:
        case {"type": "record", "fields": fields}:
            return [record_name(schema), [(field["name"], shape(field["type"])) for field in fields]]
        case {"type": str(primitive)} if primitive in _PRIMITIVES:
            return (primitive, schema.get("logicalType"))
        case {"type": dict() | list() as inner}:
            return shape(inner)
        case list():
            return [shape(branch) for branch in schema]
        case str() if schema in _PRIMITIVES:
            return (schema, None)
        case _:
            return schema


def _check(cost: _Cost) -> None:
    if cost.depth > MAX_DEPTH:
        msg = f"it is nested {cost.depth} deep; at most {MAX_DEPTH}"
        raise NotAdmitted(msg)
    if cost.steps > MAX_STEPS:
        msg = f"it has {cost.steps} fields and types; at most {MAX_STEPS}"
        raise NotAdmitted(msg)


class _Inspection:
    """One walk through one schema; remembers the cost of each type that it has met by name."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._known: dict[str, _Cost] = {}

    def cost(self, schema: Any) -> _Cost:
        match schema:
            case str():
                return self._of_name(schema)
            case list():
                return self._of_parts(schema, takes_bytes=True)
            case {"type": "record" | "error", "fields": list(fields)}:
                return self._of_record(record_name(schema), fields)
            case {"type": "array", "items": items} | {"type": "map", "values": items}:
                return self._of_items(items)
            case {"type": "fixed" | "enum" as kind}:
                takes_bytes = kind == "enum" or bool(schema.get("size"))
                return self._remember(record_name(schema), _Cost(takes_bytes, 1, 1))
            case {"type": inner}:
                return self.cost(inner)
            case _:
                msg = f"{str(schema)[:80]} is no Avro type"
                raise NotAdmitted(msg)

    def _of_name(self, name: str) -> _Cost:
        if name in _PRIMITIVES:
            return _Cost(name != "null", 1, 1)
        short = name.rpartition(".")[2]
        if short in self._open:
            msg = f"record {name} contains itself"
            raise NotAdmitted(msg)
        if short not in self._known:
            msg = f"it names a type {name} that it does not define"
            raise NotAdmitted(msg)
        return self._known[short]

    def _of_record(self, name: str, fields: list[Any]) -> _Cost:
        if name in self._open:
            msg = f"record {name} contains itself"
            raise NotAdmitted(msg)
        self._open.add(name)
        cost = self._of_parts([field.get("type") if isinstance(field, dict) else None for field in fields])
        self._open.discard(name)
        return self._remember(name, cost)

    def _of_items(self, schema: Any) -> _Cost:
        cost = self.cost(schema)
        if not cost.takes_bytes:
            raise NotAdmitted("it has an array of items that take no bytes")
        return _Cost(takes_bytes=True, steps=1 + cost.steps, depth=1 + cost.depth)

    def _of_parts(self, schemas: list[Any], *, takes_bytes: bool = False) -> _Cost:
        costs = [self.cost(schema) for schema in schemas]
        return _Cost(
            takes_bytes=takes_bytes or any(cost.takes_bytes for cost in costs),
            steps=1 + sum(cost.steps for cost in costs),
            depth=1 + max((cost.depth for cost in costs), default=0),
        )

    def _remember(self, name: str, cost: _Cost) -> _Cost:
        self._known[name] = cost
        return cost
