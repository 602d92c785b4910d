"""When an operation is tried again by itself: somebody was in its way, and no service is down."""

from __future__ import annotations

from allocation.service_layer import ports


def is_conflict(error: Exception) -> bool:
    """Tell whether the same may succeed at once: a position that was moved, a row that was changed, a deadlock."""
    return isinstance(error, ports.Retryable) and not isinstance(error, ports.DependencyDown)
