"""One pass over the unsent rows of a shard, and what comes before the first one.

The invariant: a row is deleted once Kafka holds it, and only then does the next pass commit. The Kafka
transaction of a pass holds its messages and a checkpoint that names its rows; so after a crash at any
instruction the last checkpoint says which rows are still to be deleted, and no other row was sent. A log
without transactions keeps none: then all rows that are there are sent, perhaps again.
Rows are taken in id order among all that are there, never "after the last one": ids commit out of order.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from allocation.service_layer import kill_points, signals, traces
from allocation.service_layer.relaying import checkpoints, ports, recovery

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

# Larger transactions take longer and send hardly more in a second; smaller ones pay more often for the commit.
MAX_ROWS = 5000


@dataclass(slots=True)
class PassSize:
    """How many rows a pass takes: fewer each time that Kafka refuses one of them, until that one stands alone."""

    maximum: int = MAX_ROWS
    rows: int = MAX_ROWS

    def shrink(self, refused_rows: int) -> None:
        """Take at most half of what was refused."""
        self.rows = max(1, refused_rows // 2)

    def grow(self) -> None:
        """Take more again after a pass that went through."""
        self.rows = min(self.maximum, self.rows * 2)


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass did; `is_behind`: it left rows for the next one."""

    rows: int
    is_behind: bool


class ShardRelay:
    """Relays one shard until the first error; after that a new one, on a new log, has to recover."""

    def __init__(
        self,
        *,
        shard: int,
        outbox: ports.Outbox,
        kafka_log: ports.Log,
        size: PassSize,
        signals: signals.Signals = signals.SILENT,
    ) -> None:
        self._shard = shard
        self._signals = signals
        self._outbox = outbox
        self._kafka_log = kafka_log
        self._size = size
        self._state = outbox.state()  # as it is once every other relay is fenced off

    def recover(self) -> int:
        """Delete the rows that were sent and are still there; return how many. Comes before the first pass.

        Raises `RelayStopped` when the database and the topic cannot belong together.
        """
        checkpoint = self._kafka_log.last_checkpoint()
        kill_points.reached("relay.during_recovery")
        count = 0 if checkpoint is None else self._outbox.count(checkpoint)
        # Another relay may have fenced this one off and gone on: then the three do not belong together.
        if self._outbox.state() != self._state:
            raise ports.Superseded(f"shard {self._shard} was changed by another relay")
        sent = recovery.unsettled(checkpoint, state=self._state, shard=self._shard)
        if sent is None:
            return 0
        recovery.check_rows_are_there(sent, count=count, shard=self._shard)
        return self._settle(sent)

    def run_pass(self) -> Passed:
        """Send the first unsent rows and delete them; without any, Kafka is left alone."""
        started = time.monotonic()
        window = self._outbox.read(limit=self._size.rows, state=self._state)
        if window.rows:
            self._relay(window.rows)
            duration_s = time.monotonic() - started
            self._signals.relayed(window.rows, duration_s)
            log.info(
                "relay.pass",
                shard=self._shard,
                number=self._state.passes,
                rows=len(window.rows),
                first=window.rows[0][0],
                last=window.rows[-1][0],
                duration_ms=round(1000 * duration_s, 1),
                trace_ids=traces.of_rows(window.rows),
            )
        return Passed(rows=len(window.rows), is_behind=window.is_cut)

    def _relay(self, rows: Sequence[ports.Row]) -> None:
        checkpoint = self._checkpoint(rows)
        try:
            self._kafka_log.send(rows, checkpoint)
        except ports.Refused as refusal:
            self._isolate(rows, refusal)
            raise
        kill_points.reached("relay.after_commit")
        if self._settle(checkpoint) != len(rows):
            log.warning("relay.rows_missing", shard=self._shard, number=checkpoint.number, rows=len(rows))
        kill_points.reached("relay.after_delete")
        self._size.grow()

    def _checkpoint(self, rows: Sequence[ports.Row]) -> checkpoints.Checkpoint:
        return checkpoints.Checkpoint(
            database_id=self._state.database_id,
            incarnation=self._state.incarnation,
            number=self._state.passes + 1,
            runs=checkpoints.runs_of([row[0] for row in rows]),
        )

    def _settle(self, checkpoint: checkpoints.Checkpoint) -> int:
        deleted = self._outbox.settle(checkpoint)
        self._state = dataclasses.replace(self._state, passes=checkpoint.number)
        return deleted

    def _isolate(self, rows: Sequence[ports.Row], refusal: ports.Refused) -> None:
        """Take fewer rows the next time; once the refused row stands alone, set it aside."""
        if len(rows) > 1:
            self._size.shrink(len(rows))
            log.warning("relay.pass_refused", shard=self._shard, rows=len(rows), error=str(refusal))
            return
        row_id, topic, *_ = rows[0]
        count = self._outbox.quarantine(row_id, reason=str(refusal), state=self._state)
        log.error("relay.quarantined", shard=self._shard, row=row_id, topic=topic, rows=count, error=str(refusal))
