"""When an operation is tried again by itself: somebody was in its way, and no service is down."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

import stamina

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def is_conflict(error: Exception) -> bool:
    """Tell whether the same may succeed at once: a position that was moved, a row that was changed, a deadlock."""
    return isinstance(error, ports.Retryable) and not isinstance(error, ports.DependencyDown)


def retried(*, attempts: int) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Return a decorator: what gets into somebody's way is done again, so many times in all, 50 ms and more between."""
    return stamina.retry(on=is_conflict, attempts=attempts, timeout=None, wait_initial=0.05)
