"""What was found while readiness was looked at, for the metrics; loaded only where there are some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.prometheus import looking

if TYPE_CHECKING:
    from allocation.entrypoints.observing import readiness


def found(answer: readiness.Answer) -> looking.Found:
    """Return what the metrics tell of an answer."""
    ready = {name: check.is_well for name, check in answer.checks.items()}
    return looking.Found(ready, answer.database, answer.partitions)
