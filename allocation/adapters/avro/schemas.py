"""Our own Avro schemas, the contract with everyone else: read from `schemas/*.avsc`, never changed here.

In a checkout they lie beside the package, in a wheel inside it. `schemas/README.md` has the rules of
their evolution.
"""

from __future__ import annotations

import json
from pathlib import Path

import allocation

_PACKAGE = Path(allocation.__file__).parent
_IN_WHEEL = _PACKAGE / "_schemas"
_IN_CHECKOUT = _PACKAGE.parent / "schemas"


def load() -> dict[str, str]:
    """Return each schema as compact JSON by the name of its record, `Allocate` for instance."""
    directory = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT
    definitions = (json.loads(path.read_text("utf-8")) for path in sorted(directory.glob("*.avsc")))
    return {definition["name"]: json.dumps(definition, separators=(",", ":")) for definition in definitions}


def subject(topic: str) -> str:
    """Return the subject of a topic's values (Confluent's TopicNameStrategy, the default of all clients)."""
    return f"{topic}-value"
