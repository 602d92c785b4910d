"""Values in a form that needs no registry: the wire format's five bytes, then JSON."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = b"\0\0\0\0\1"


class FakeSerde:
    """Passes as `ports.Serializer` and `ports.Deserializer`; `down` refuses to read."""

    def __init__(self) -> None:
        self.down = False

    def serialize(self, record_name: str, fields: Mapping[str, Any]) -> bytes:
        return HEADER + json.dumps({"record": record_name, **fields}, default=datetime.date.isoformat).encode()

    def deserialize(self, record_name: str, value: bytes) -> Mapping[str, Any]:
        if self.down:
            raise ports.DependencyDown("the registry is down")
        if not value.startswith(HEADER):
            raise ports.UnreadableValue("undecodable", f"{value!r} is not in the wire format")
        fields: dict[str, Any] = json.loads(value.removeprefix(HEADER))
        if fields.pop("record") != record_name:
            raise ports.UnreadableValue("wrong_record", f"not a {record_name}")
        if fields.get("eta"):
            fields["eta"] = datetime.date.fromisoformat(fields["eta"])
        return fields
