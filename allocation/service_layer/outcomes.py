"""What became of a message: a value, never an exception, so that nothing can be forgotten."""

from __future__ import annotations

from dataclasses import field

from allocation.domain import values


@values.value
class Handled:
    """Its effect is part of this transaction; `result` is the batch reference that an `Allocate` got."""

    result: str | None = None


@values.value
class Duplicate:
    """The same message was seen before: nothing changes, nothing is announced."""


@values.value
class Refused:
    """It goes to the dead letters; final for this attempt. `error_class` and `stack` help to find the place."""

    reason: str
    error: str
    error_class: str = field(default="", compare=False)
    stack: str = field(default="", compare=False)


@values.value
class Waiting:
    """Ahead of its batch: it waits for a grace time before it is refused for this reason."""

    reason: str
    error: str
    error_class: str = field(default="", compare=False)


@values.value
class Queued:
    """It keeps its place behind a parked command of the same sku."""


@values.value
class Poisoned:
    """It fails unexpectedly, again and again; parked until an operator releases or discards it."""

    error: str
    error_class: str = field(default="", compare=False)
    stack: str = field(default="", compare=False)


Outcome = Handled | Duplicate | Refused | Waiting | Queued | Poisoned
