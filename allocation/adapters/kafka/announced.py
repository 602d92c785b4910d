"""What lies on the topics that the relay sends to, once no relay can send any more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.kafka import log_reader, whole_logs
from allocation.service_layer.operations.replay import ports as replay
from allocation.service_layer.operations.replay import restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer.operations.replay import rebuilding_ports as ports
    from allocation.service_layer.operations.verify import ports as verify
    from allocation.service_layer.relaying import ports as relaying

_PROGRESS_EVERY = 1000


class AnnouncedTopics:
    """See `restoring.Topics`; for one thread."""

    def __init__(
        self,
        config: clients.ClientConfig,
        *,
        journal_topic: str,
        open_shards: Sequence[Callable[[], contextlib.AbstractContextManager[relaying.TransactionLog]]],
        settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S,
    ) -> None:
        self._whole = whole_logs.WholeLogs(config, settle_timeout_s=settle_timeout_s)
        self._journal = journal_topic
        self._reader = log_reader.LogReader(config)
        self._open_shards = open_shards

    @contextlib.contextmanager
    def fenced(self) -> Iterator[Collection[str]]:
        """Fence the relay of every shard off until the block ends; give the incarnations of the last checkpoints.

        Raises `CannotReplay` when the journal's topic cannot be seen as a whole.
        """
        with contextlib.ExitStack() as stack:
            last = [stack.enter_context(open_shard()).last_checkpoint() for open_shard in self._open_shards]
            self._check_nothing_is_hidden([self._journal])
            yield {checkpoint.incarnation for checkpoint in last if checkpoint is not None}

    def identities(self, names: Collection[str], on_progress: ports.Progress) -> Iterator[bytes]:
        """Yield what the messages on these topics are known by; raises `CannotReplay` when not all can be seen."""
        total = sum(found.end - found.begin for found in self._check_nothing_is_hidden(sorted(names)).values())
        for number, record in enumerate(self._reader.read(sorted(names))):
            if number % _PROGRESS_EVERY == 0:
                on_progress("reading what was announced", number, total)
            yield restoring.identity(record.topic, record.key, record.headers)

    def _check_nothing_is_hidden(self, names: Sequence[str]) -> Mapping[verify.TopicPartition, verify.Bounds]:
        """Raise `CannotReplay` for what lies behind a transaction that does not end: it may have been sent, or not."""
        bounds = self._whole.bounds(names)
        hidden = [(at, found) for at, found in bounds.items() if found.hidden]
        if hidden:
            (topic, partition), found = hidden[0]
            raise replay.CannotReplay(
                f"{topic}/{partition} hides {found.hidden} records from offset {found.end} on behind a transaction "
                "that stays open, so nobody can tell what was sent. Wait until it ends, or end it with Kafka's "
                "`kafka-transactions find-hanging` and `abort`; then run this again"
            )
        return bounds
