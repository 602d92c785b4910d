"""Make a command of what a program put on a Redis channel, or say why it holds none.

Nothing that can be published makes this fail. Keys that we do not know are ignored, as they always
were; those that we need must be there and be of the right type: a `qty` of `true` or `3.0` is no
number of pieces.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from allocation.domain import commands, refusal
from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_SHOWN = 60  # characters of a wrong value that an error quotes

_FIELDS: Mapping[str, Mapping[str, type]] = {
    "Allocate": {"orderid": str, "sku": str, "qty": int},
    "ChangeBatchQuantity": {"batchref": str, "qty": int},
}
_COMMANDS: Mapping[str, Callable[[Mapping[str, Any]], commands.Command]] = {
    "Allocate": lambda fields: commands.Allocate(fields["orderid"], fields["sku"], fields["qty"]),
    "ChangeBatchQuantity": lambda fields: commands.ChangeBatchQuantity(fields["batchref"], fields["qty"]),
}
_TYPE_NAMES = {str: "text", int: "a whole number"}


def read(record_name: str, payload: bytes) -> commands.Command | messages.Unreadable:
    """Return the command of that name which the JSON text `payload` describes."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return messages.Unreadable("undecodable", f"not JSON: {error}")
    problem = _problem(content, _FIELDS[record_name])
    if problem is not None:
        return messages.Unreadable("invalid", problem)
    try:
        return _COMMANDS[record_name](content)
    except refusal.Refusal as error:
        return messages.Unreadable(error.reason, str(error))


def _problem(content: object, fields: Mapping[str, type]) -> str | None:
    if not isinstance(content, dict):
        return f"{_shown(content)} is no JSON object; it must be one with the keys {', '.join(fields)}"
    for name, wanted in fields.items():
        if name not in content:
            return f"{name} is missing; it must be {_TYPE_NAMES[wanted]}"
        if type(content[name]) is not wanted:  # a bool is an int to isinstance
            return f"{name} is {_shown(content[name])}; it must be {_TYPE_NAMES[wanted]}"
    return None


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
