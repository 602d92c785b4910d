"""Where to go back to, as people say it, and the offset that this is in each partition.

Times need a zone: half an hour more or less handled again because two machines differ is not acceptable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, assert_never

from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from allocation.service_layer.operations.verify import ports as verify


@dataclass(frozen=True, slots=True)
class ToOffset:
    """To this offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class ToTime:
    """To the first record that is not older."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class ToEarliest:
    """To the first record that is still there."""


@dataclass(frozen=True, slots=True)
class Back:
    """So many offsets back from where the group is."""

    offsets: int


Target = ToOffset | ToTime | ToEarliest | Back


class BadTime(ValueError):
    """No moment; says what is wrong and how one is written."""


def moment(text: str) -> datetime:
    """Return the moment that is meant; raises `BadTime` also for one without a zone."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise BadTime(f"{text!r} is no time; write it like 2030-01-31T08:00:00Z") from None
    if given.tzinfo is None:
        raise BadTime(f"{text!r} names no zone; add Z for UTC, or an offset such as +01:00")
    return given


def chosen(
    bounds: Mapping[ports.TopicPartition, verify.Bounds], partitions: Collection[int]
) -> dict[ports.TopicPartition, verify.Bounds]:
    """Return the bounds of partitions with these numbers, of all if none is given; raises `CannotReplay`."""
    found = {at: one for at, one in bounds.items() if not partitions or at.partition in partitions}
    missing = sorted(set(partitions) - {at.partition for at in found})
    if missing:
        topics = ", ".join(sorted({at.topic for at in bounds}))
        raise ports.CannotReplay(f"{topics}: there is no partition {', '.join(map(str, missing))}")
    return found


def offsets(
    target: Target,
    *,
    logs: ports.Logs,
    bounds: Mapping[ports.TopicPartition, verify.Bounds],
    current: Mapping[ports.TopicPartition, int],
) -> dict[ports.TopicPartition, int]:
    """Return the offset of each of these partitions; raises `CannotReplay` for one that is not there.

    `current` is where each partition is now, for `Back`, which stops at the first record that is there.
    """
    match target:
        case ToEarliest():
            return {at: one.begin for at, one in bounds.items()}
        case ToTime(moment):
            found = logs.offsets_at(bounds, moment)
            return {at: found.get(at, one.end) for at, one in bounds.items()}
        case Back(count):
            return {at: max(current[at] - count, one.begin) for at, one in bounds.items()}
        case ToOffset(offset):
            for at, one in bounds.items():
                _check(at, one, offset)
            return dict.fromkeys(bounds, offset)
        case _:
            assert_never(target)


def _check(at: ports.TopicPartition, bounds: verify.Bounds, offset: int) -> None:
    if not bounds.begin <= offset <= bounds.end:
        raise ports.CannotReplay(f"{at} holds offsets {bounds.begin} to {bounds.end}; there is no {offset}")
