"""The relay's database and Kafka, in memory; each passes the contract suite of the real one."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import checkpoints, ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FIRST_STATE = ports.ShardState(database_id="database", incarnation="first life", passes=0, is_checkpointed=True)
FIRST_CHECKPOINT = checkpoints.Checkpoint(database_id="database", incarnation="first life", number=0)


@dataclass
class StoredRow:
    row: ports.Row
    sku: str | None
    quarantined: str | None = None


@dataclass
class FakeOutbox:
    """One shard's rows; `insert` with an id of its own stands for a transaction that committed late."""

    shard_state: ports.ShardState = FIRST_STATE
    stored: dict[int, StoredRow] = field(default_factory=dict)

    def insert(self, row_id: int, *, sku: str | None = "LAMP", value: bytes = b"", topic: str = "events") -> None:
        key = None if sku is None else sku.encode()
        self.stored[row_id] = StoredRow((row_id, topic, None, key, value or b"%d" % row_id, "[]"), sku)

    @property
    def ids(self) -> list[int]:
        return sorted(self.stored)

    @property
    def quarantined_ids(self) -> list[int]:
        return [row_id for row_id in self.ids if self.stored[row_id].quarantined]

    def state(self) -> ports.ShardState:
        return self.shard_state

    def read(self, *, limit: int, state: ports.ShardState) -> ports.Window:
        self._check(state)
        held_back: set[str] = set()
        rows = []
        for _, stored in sorted(self.stored.items()):
            if stored.quarantined and stored.sku is not None:
                held_back.add(stored.sku)
            if not stored.quarantined and stored.sku not in held_back:
                rows.append(stored.row)
        return ports.Window(rows[:limit], is_cut=len(rows) >= limit)

    def count(self, checkpoint: checkpoints.Checkpoint) -> int:
        return len(self._of(checkpoint))

    def settle(self, checkpoint: checkpoints.Checkpoint) -> int:
        expected = dataclasses.replace(self.shard_state, incarnation=checkpoint.incarnation)
        self._check(dataclasses.replace(expected, passes=checkpoint.number - 1))
        sent = self._of(checkpoint)
        for row_id in sent:
            del self.stored[row_id]
        self.shard_state = dataclasses.replace(self.shard_state, passes=checkpoint.number)
        return len(sent)

    def quarantine(self, row_id: int, *, reason: str, state: ports.ShardState) -> int:
        self._check(state)
        refused = self.stored[row_id]
        refused.quarantined = reason
        behind = [
            stored
            for other_id, stored in self.stored.items()
            if refused.sku is not None and stored.sku == refused.sku and other_id > row_id
        ]
        for stored in behind:
            stored.quarantined = f"behind row {row_id}"
        return 1 + len(behind)

    def switch(self, delivery: ports.Delivery, *, state: ports.ShardState) -> int:
        self._check(state)
        if not self.stored:
            self.shard_state = dataclasses.replace(state, delivery=delivery)
        return len(self.stored)

    def _of(self, checkpoint: checkpoints.Checkpoint) -> list[int]:
        return [row_id for row_id in self.stored if any(run.first <= row_id <= run.last for run in checkpoint.runs)]

    def _check(self, state: ports.ShardState) -> None:
        if state != self.shard_state:
            raise ports.Superseded("the shard was changed by another relay")


@dataclass
class FakeKafka:
    """What `read_committed` consumers see of one shard, and what goes wrong next.

    `on_look` is called once, when somebody is about to look for the last checkpoint.
    """

    committed: list[ports.Row] = field(default_factory=list)
    checkpoints: list[checkpoints.Checkpoint] = field(default_factory=lambda: [FIRST_CHECKPOINT])
    refuses: Callable[[ports.Row], bool] = lambda _row: False
    loses_answer: bool = False
    loses_transaction: bool = False
    is_down: bool = False
    on_look: Callable[[], None] | None = None
    transactions: int = 0
    epoch: int = 0

    @property
    def sent_ids(self) -> list[int]:
        return [row[0] for row in self.committed]

    @contextlib.contextmanager
    def open_log(self) -> Iterator[FakeTransactionLog]:
        if self.is_down:
            raise outside.DependencyDown("Kafka does not answer")
        self.epoch += 1
        yield FakeTransactionLog(self, self.epoch)

    @contextlib.contextmanager
    def open_idempotent_log(self) -> Iterator[FakeIdempotentLog]:
        yield FakeIdempotentLog(self)


class FakeIdempotentLog:
    """A key stands for a partition: behind a refused row nothing of its key is sent, everything else is."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    def last_checkpoint(self) -> None:
        """Return None: it keeps none."""

    def send(self, rows: Sequence[ports.Row], _checkpoint: checkpoints.Checkpoint) -> None:
        kafka = self._kafka
        if kafka.is_down or kafka.loses_transaction:
            kafka.loses_transaction = False
            raise outside.DependencyDown("Kafka does not answer")
        ended = set()
        for row in rows:
            if kafka.refuses(row):
                ended.add(row[3])
            if row[3] not in ended:
                kafka.committed.append(row)
        if ended:
            raise ports.Refused("too large")
        if kafka.loses_answer:
            kafka.loses_answer = False
            raise outside.DependencyDown("Kafka did not confirm")


class FakeTransactionLog:
    def __init__(self, kafka: FakeKafka, epoch: int) -> None:
        self._kafka = kafka
        self._epoch = epoch

    def last_checkpoint(self) -> checkpoints.Checkpoint | None:
        if (on_look := self._kafka.on_look) is not None:
            self._kafka.on_look = None
            on_look()
        return self._kafka.checkpoints[-1] if self._kafka.checkpoints else None

    def send(self, rows: Sequence[ports.Row], checkpoint: checkpoints.Checkpoint) -> None:
        kafka = self._kafka
        if self._epoch != kafka.epoch:
            raise ports.Superseded("fenced off")
        if kafka.is_down or kafka.loses_transaction:
            kafka.loses_transaction = False
            raise outside.DependencyDown("Kafka does not answer")
        if any(kafka.refuses(row) for row in rows):
            raise ports.Refused("too large")
        kafka.transactions += 1
        kafka.committed += rows
        kafka.checkpoints.append(checkpoint)
        if kafka.loses_answer:
            kafka.loses_answer = False
            raise outside.DependencyDown("Kafka did not answer the commit")


@dataclass
class FakeLease:
    """A lease that another may hold, or take while we work; `on_denied` hears that we asked in vain."""

    is_free: bool = True
    is_ours: bool = False
    on_denied: Callable[[], None] = lambda: None

    def acquire(self) -> bool:
        self.is_ours = self.is_ours or self.is_free
        if not self.is_ours:
            self.on_denied()
        return self.is_ours

    def take_away(self) -> None:
        self.is_ours = self.is_free = False

    def become_free(self) -> None:
        self.is_free = True

    def renew(self) -> bool:
        return self.is_ours

    def release(self) -> None:
        self.is_ours = False
