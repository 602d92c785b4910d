"""What the parts tell of their work, to whoever listens: metrics and health, or nobody.

The service layer knows no metrics library. It says what it does through this, once per micro-batch,
pass or turn of a loop and never per message, so that nobody listening costs nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation.service_layer import messages, reporting
    from allocation.service_layer.relaying import ports as relaying


@dataclass(frozen=True, slots=True, kw_only=True)
class Partitions:
    """What a worker has of the command topics.

    `set_aside` says why nothing more is taken from some; `committed` are the group's offsets that Kafka has
    confirmed since, by topic and partition.
    """

    assigned: int = 0
    held: tuple[str, ...] = ()
    set_aside: Mapping[str, str]
    committed: Mapping[tuple[str, int], int] = field(default_factory=dict)


class Signals:
    """Hears nothing; who listens overrides what it wants to hear.

    No method blocks or raises; each may be called by any thread of a part.
    """

    def says(self, item: str, problem: str | None = None, *, state: str = "ok") -> None:
        """Hear how one thing is: at every turn of the loop that looks after it, so that silence means that it hangs."""

    def forgets(self, item: str) -> None:
        """Hear that there is no such thing any more."""

    def handled(
        self, records: Sequence[messages.Record], reports: Sequence[reporting.Report], duration_s: float
    ) -> None:
        """Hear of a micro-batch that is committed."""

    def expired(self, report: reporting.Report) -> None:
        """Hear what became of commands whose grace was over."""

    def retries(self, *, is_outage: bool) -> None:
        """Hear that something is tried again: after a conflict with somebody else, or in an outage."""

    def has_partitions(self, partitions: Partitions, *, rebalances: int) -> None:
        """Hear what a worker has now; `rebalances` were there so far."""

    def relayed(self, rows: Sequence[relaying.Row], duration_s: float) -> None:
        """Hear of a pass of the relay that Kafka has committed."""

    def forwarded(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Hear of messages from Redis that Kafka has committed."""

    def passed_on(self, reader: str, events: Sequence[messages.Record], duration_s: float) -> None:
        """Hear of events that were taken by whoever this reader passes them to, and how long all of that took."""


SILENT = Signals()


class Several(Signals):
    """Lets several hear."""

    def __init__(self, *listeners: Signals) -> None:
        self._listeners = listeners

    def says(self, item: str, problem: str | None = None, *, state: str = "ok") -> None:
        """Tell them all; likewise each of the others."""
        for one in self._listeners:
            one.says(item, problem, state=state)

    def forgets(self, item: str) -> None:  # noqa: D102 - as above
        for one in self._listeners:
            one.forgets(item)

    def handled(  # noqa: D102 - as above
        self, records: Sequence[messages.Record], reports: Sequence[reporting.Report], duration_s: float
    ) -> None:
        for one in self._listeners:
            one.handled(records, reports, duration_s)

    def expired(self, report: reporting.Report) -> None:  # noqa: D102 - as above
        for one in self._listeners:
            one.expired(report)

    def retries(self, *, is_outage: bool) -> None:  # noqa: D102 - as above
        for one in self._listeners:
            one.retries(is_outage=is_outage)

    def has_partitions(self, partitions: Partitions, *, rebalances: int) -> None:  # noqa: D102 - as above
        for one in self._listeners:
            one.has_partitions(partitions, rebalances=rebalances)

    def relayed(self, rows: Sequence[relaying.Row], duration_s: float) -> None:  # noqa: D102 - as above
        for one in self._listeners:
            one.relayed(rows, duration_s)

    def forwarded(self, outgoing: Sequence[messages.OutboxMessage]) -> None:  # noqa: D102 - as above
        for one in self._listeners:
            one.forwarded(outgoing)

    def passed_on(  # noqa: D102 - as above
        self, reader: str, events: Sequence[messages.Record], duration_s: float
    ) -> None:
        for one in self._listeners:
            one.passed_on(reader, events, duration_s)


class Said(NamedTuple):
    """The last word on one thing, and when that was (monotonic, seconds)."""

    state: str
    problem: str | None
    at: float


class Standing(Signals):
    """Keeps the last word on each thing."""

    def __init__(self) -> None:
        self._said: dict[str, Said] = {}

    def says(self, item: str, problem: str | None = None, *, state: str = "ok") -> None:
        """Keep it."""
        self._said[item] = Said(state, problem, time.monotonic())

    def forgets(self, item: str) -> None:
        """Drop it."""
        self._said.pop(item, None)

    def items(self) -> Mapping[str, Said]:
        """Return the last words."""
        return dict(self._said)
