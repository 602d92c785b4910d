"""Our own Avro schemas, the contract with everyone else: read from `schemas/*.avsc`, never changed here.

In a checkout they lie beside the package, in a wheel inside it, and below them what was released:
`released/allocate/v1.avsc` and so on. `schemas/README.md` has the rules of their evolution.
"""

from __future__ import annotations

import json
from pathlib import Path

import allocation
from allocation.service_layer.operations import schema_contract

_PACKAGE = Path(allocation.__file__).parent
_IN_WHEEL = _PACKAGE / "_schemas"
_IN_CHECKOUT = _PACKAGE.parent / "schemas"
_RELEASED = "released"


def load() -> dict[str, str]:
    """Return each schema as compact JSON by the name of its record, `Allocate` for instance."""
    return {json.loads(definition)["name"]: definition for definition in map(_read, _files())}


def released() -> dict[str, dict[str, str]]:
    """Return what was released, as compact JSON by version (`v1`), by the name of the record as it is called now.

    Raises `ContractBroken` for a released schema that is gone, and for files that are no versions.
    """
    found: dict[str, dict[str, str]] = {json.loads(_read(path))["name"]: _versions(path.stem) for path in _files()}
    gone = {path.name for path in (_directory() / _RELEASED).iterdir()} - {path.stem for path in _files()}
    if gone:
        names = ", ".join(f"schemas/{name}.avsc" for name in sorted(gone))
        msg = f"{names}: released, and gone; what was released is served until nobody uses it, so bring it back"
        raise schema_contract.ContractBroken(msg)
    return found


def _versions(stem: str) -> dict[str, str]:
    files = {path.stem: path for path in (_directory() / _RELEASED / stem).glob("*")}
    expected = [f"v{number}" for number in range(1, len(files) + 1)]
    if set(files) != set(expected):
        found = ", ".join(sorted(files))
        msg = f"schemas/{_RELEASED}/{stem} has {found}; released versions are v1.avsc, v2.avsc and so on, none missing"
        raise schema_contract.ContractBroken(msg)
    return {version: _read(files[version]) for version in expected}


def _files() -> list[Path]:
    return sorted(_directory().glob("*.avsc"))


def _directory() -> Path:
    return _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT


def _read(path: Path) -> str:
    return json.dumps(json.loads(path.read_text("utf-8")), separators=(",", ":"))


def subject(topic: str) -> str:
    """Return the subject of a topic's values (Confluent's TopicNameStrategy, the default of all clients)."""
    return f"{topic}-value"
