"""Let an operation that sends much go no faster than the relay: workers stand still once the outbox is full."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation.service_layer.operations.replay import ports

POLL_S = 0.5  # the relay sends some 10,000 rows meanwhile


@dataclass(frozen=True, slots=True)
class Pace:
    """Room in the outbox; `rows` counts those that wait, up to a number."""

    rows: Callable[[int], int]
    limit: int

    def wait(self, on_progress: ports.Progress, what: str, done: int, total: int) -> None:
        """Wait until fewer rows than the limit are in the outbox, and say meanwhile that it is the relay's turn."""
        while self.rows(self.limit) >= self.limit:
            on_progress(f"{what}; waits for the relay", done, total)
            time.sleep(POLL_S)
