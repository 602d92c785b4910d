"""When the worker must not take more, although everything answers.

The outbox is bounded: a stuck relay does not stop the worker until a configured number of rows waits.
And a worker that refuses most of what it reads is more likely wrong than its senders: it stops before
it has emptied the topics into the dead letters, and stays so until it is restarted. And while an operator
moves the group's offsets, there is an intermission: Kafka does that only when nobody is in the group.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WINDOW = 1000  # messages whose share of refusals is looked at
_NEW_REFUSALS = ("refused", "poisoned")  # as the journal calls them; expired ones are old


class Circuit:
    """Opens when more than `limit` of the last messages were refused; 1 switches it off."""

    def __init__(self, *, limit: float) -> None:
        self._limit = limit
        self._recent: deque[tuple[int, int]] = deque()
        self._refused = 0
        self._total = 0
        self.is_open = False

    def count(self, outcomes: Mapping[str, int]) -> None:
        """Take in what became of the messages of a unit of work."""
        refused, total = sum(outcomes.get(word, 0) for word in _NEW_REFUSALS), sum(outcomes.values())
        self._recent.append((refused, total))
        self._refused += refused
        self._total += total
        while self._total - self._recent[0][1] >= WINDOW:
            old_refused, old_total = self._recent.popleft()
            self._refused -= old_refused
            self._total -= old_total
        if self._total >= WINDOW and self._refused > self._limit * self._total:
            self.is_open = True


class Look(NamedTuple):
    """What the database says: rows in the outbox, up to the number asked for, and whose intermission there is."""

    outbox_rows: int
    intermission: str | None = None


class Brakes:
    """Tells why nothing should be taken, if so; `database` counts up to a number, and blocks shortly.

    `intermission` says for whom, and why, the worker is to be no member of its group.
    """

    intermission: str | None = None

    def __init__(self, *, circuit: Circuit, outbox_limit: int, database: Callable[[int], Look]) -> None:
        self.circuit = circuit
        self._outbox_limit = outbox_limit
        self._database = database
        self._is_outbox_full = False

    def look(self) -> None:
        """Ask the database; the outbox counts as full until a tenth of it is free again."""
        limit = math.ceil(self._outbox_limit * 0.9) if self._is_outbox_full else self._outbox_limit
        outbox_rows, self.intermission = self._database(limit)
        self._is_outbox_full = outbox_rows >= limit

    @property
    def problems(self) -> Mapping[str, str | None]:
        """By brake, why the worker stands still; None where it may go on."""
        circuit = (
            f"most of the last {WINDOW} messages were refused: the deployment may be wrong; see the dead letters, "
            "then restart the worker (ALLOCATION_REFUSAL_LIMIT=1 switches this off)"
        )
        outbox = f"{self._outbox_limit} rows wait in the outbox: the relay is stuck, or slower than this worker"
        return {
            "circuit": circuit if self.circuit.is_open else None,
            "outbox limit": outbox if self._is_outbox_full else None,
        }

    @property
    def reason(self) -> str | None:
        """Why the worker stands still, None when it may go on."""
        if not self.circuit.is_open and not self._is_outbox_full:
            return None
        return next(filter(None, self.problems.values()))


class BatchSize:
    """How many records to take: fewer when a batch takes long, so that a slow one cannot be evicted for ever."""

    BUDGET_S = 2.0  # far below any session or transaction timeout, and what a stop may take

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self.records = maximum

    def took(self, duration_s: float) -> None:
        """Adapt to how long a batch took."""
        if duration_s > self.BUDGET_S:
            self.failed()
        else:
            self.records = min(self._maximum, self.records * 2)

    def failed(self) -> None:
        """Take half as many after a batch that did not go through."""
        self.records = max(1, self.records // 2)
