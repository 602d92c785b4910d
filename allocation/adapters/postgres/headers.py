"""Kafka headers as one text column: JSON, each value as Latin-1 text, which holds any bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocation.service_layer import messages


def dump(headers: messages.Headers) -> str:
    """Return headers as JSON text."""
    return json.dumps([(name, None if value is None else value.decode("latin-1")) for name, value in headers])


def load(text: str) -> messages.Headers:
    """Return the headers of `dump`."""
    return tuple((name, None if value is None else value.encode("latin-1")) for name, value in json.loads(text))
