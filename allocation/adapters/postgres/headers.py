"""Kafka headers as one text column: JSON, each value as Latin-1 text, which holds any bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer import messages

# What stands in a JSON string as it is; quotes are counted.
_PLAIN = bytes(character for character in range(0x20, 0x7F) if character != ord("\\"))
_QUOTES_PER_HEADER = 4


def dump(headers: messages.Headers) -> str:
    """Return headers as JSON text."""
    return json.dumps([(name, None if value is None else value.decode("latin-1")) for name, value in headers])


def dump_all(many: Sequence[messages.Headers]) -> Sequence[str]:
    """Return the same as `dump` does for each; a quarter of its time where no value needs escaping."""
    try:
        texts = [_joined(headers) for headers in many]
    except AttributeError:  # a value is None
        return list(map(dump, many))
    everything = "".join(texts)
    quotes = _QUOTES_PER_HEADER * sum(map(len, many))
    if everything.encode().translate(None, _PLAIN) or everything.count('"') != quotes:
        return list(map(dump, many))
    return texts


def _joined(headers: messages.Headers) -> str:
    if not headers:
        return "[]"
    pairs = [name + '", "' + value.decode("latin-1") for name, value in headers]  # type: ignore[union-attr]
    return '[["' + '"], ["'.join(pairs) + '"]]'


def load(text: str) -> messages.Headers:
    """Return the headers of `dump`."""
    return tuple((name, None if value is None else value.encode("latin-1")) for name, value in json.loads(text))
