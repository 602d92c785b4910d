"""Parts of logs by time and offset, as replaying reads them: no group, only what was committed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from allocation.adapters.kafka import log_reader, topics, whole_logs
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages
    from allocation.service_layer.operations.verify import ports as verify


class ReplayedLogs:
    """See `replay.ports.Logs`; for one thread."""

    def __init__(self, config: clients.ClientConfig, *, settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S) -> None:
        self._whole = whole_logs.WholeLogs(config, settle_timeout_s=settle_timeout_s)
        self._admin = topics.TopicAdmin(config)
        self._reader = log_reader.LogReader(config)

    def bounds(self, names: Sequence[str]) -> dict[topics.TopicPartition, verify.Bounds]:
        """Return the bounds of all partitions."""
        return {topics.TopicPartition(*at): bounds for at, bounds in self._whole.bounds(names).items()}

    def times(self, partitions: Collection[topics.TopicPartition]) -> dict[topics.TopicPartition, ports.Times]:
        """Return when the first and the newest record were sent."""
        asked = list(partitions)
        first, newest = self._admin.first_since(asked, 0), self._admin.newest(asked)
        return {at: ports.Times(_time(first.get(at)), _time(newest.get(at))) for at in asked}

    def offsets_at(
        self, partitions: Collection[topics.TopicPartition], moment: datetime
    ) -> dict[topics.TopicPartition, int]:
        """Return the offset of the first record not older than this."""
        found = self._admin.first_since(list(partitions), max(int(moment.timestamp() * 1000), 0))
        return {at: stamped.offset for at, stamped in found.items()}

    def between(
        self, starts: Mapping[topics.TopicPartition, int], ends: Mapping[topics.TopicPartition, int]
    ) -> Iterator[messages.Record]:
        """Yield what lies from the starts to before the ends, each partition in its order."""
        names = sorted({at.topic for at in starts})
        nothing: dict[tuple[str, int], int] = dict.fromkeys(self._admin.partitions(names), 0)
        return self._reader.read(names, start=starts, until={**nothing, **{at: ends[at] for at in starts}})


def _time(stamped: topics.Stamped | None) -> datetime | None:
    return None if stamped is None else datetime.fromtimestamp(stamped.timestamp_ms / 1000, UTC)
