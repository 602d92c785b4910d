"""Where a reader of events begins.

The first time, at the end: what was announced before there was a reader is history, and a position
that is gone must not publish history again. After that, nothing is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer.bridging import ports


def choose(*, stored: Mapping[int, int], bounds: Mapping[int, ports.Bounds]) -> dict[int, int]:
    """Return the offset to read on from for each partition in `bounds`.

    A partition that the topic got later is read from its beginning; a position that the log no
    longer reaches (it was cut back, or its oldest records expired) moves to the nearest that exists.
    """
    if not stored:
        return {partition: high for partition, (_, high) in bounds.items()}
    return {partition: min(max(stored.get(partition, low), low), high) for partition, (low, high) in bounds.items()}
