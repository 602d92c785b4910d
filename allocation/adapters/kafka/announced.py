"""What lies on the topics that the relay sends to, once no relay can send any more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.kafka import log_reader, topics
from allocation.service_layer.operations.replay import restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer.operations.replay import rebuilding_ports as ports
    from allocation.service_layer.relaying import ports as relaying

_PROGRESS_EVERY = 1000


class AnnouncedTopics:
    """See `restoring.Topics`; for one thread."""

    def __init__(
        self,
        config: clients.ClientConfig,
        *,
        open_shards: Sequence[Callable[[], contextlib.AbstractContextManager[relaying.TransactionLog]]],
    ) -> None:
        self._admin = topics.TopicAdmin(config)
        self._reader = log_reader.LogReader(config)
        self._open_shards = open_shards

    @contextlib.contextmanager
    def fenced(self) -> Iterator[None]:
        """Fence the relay of every shard off until the block ends, and settle what it had left open."""
        with contextlib.ExitStack() as stack:
            for open_shard in self._open_shards:
                stack.enter_context(open_shard()).last_checkpoint()
            yield

    def identities(self, names: Collection[str], on_progress: ports.Progress) -> Iterator[bytes]:
        """Yield what the messages on these topics are known by."""
        marks = self._admin.watermarks(self._admin.partitions(names))
        total = sum(mark.end - mark.begin for mark in marks.values())
        for number, record in enumerate(self._reader.read(sorted(names))):
            if number % _PROGRESS_EVERY == 0:
                on_progress("reading what was announced", number, total)
            yield restoring.identity(record.topic, record.key, record.headers)
