"""What a value is here: compared by its fields, and never changed.

The type checker sees to the second. A dataclass that forbids it at run time costs four times as much to
make, and several are made for each message.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar, dataclass_transform

_Value = TypeVar("_Value")


@dataclass_transform(frozen_default=True)
def value(cls: type[_Value]) -> type[_Value]:
    """Turn a class with annotated fields into one of values."""
    return dataclasses.dataclass(slots=True, unsafe_hash=True)(cls)
