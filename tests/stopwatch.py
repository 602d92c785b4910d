"""How long something takes on a machine that has other things to do, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TRIES = 5


def is_quick(work: Callable[[], object], *, within_s: float) -> bool:
    """Do it until it took no longer; what is slow by itself is so each time, what a busy machine held up is not."""
    return any(_takes_s(work) < within_s for _ in range(_TRIES))


def _takes_s(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
