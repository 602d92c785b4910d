"""The journal's topic, read as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import log_reader, topics
from allocation.service_layer.operations.replay import journal_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages
    from allocation.service_layer.operations.replay import rebuilding_ports as ports

_PROGRESS_EVERY = 1000
# Nearly always the last record lies right before the last marker of a transaction.
_FIRST_STEP = 20


class JournalLog:
    """See `rebuilding_ports.Journal`; for one thread."""

    def __init__(self, config: clients.ClientConfig, *, topic: str) -> None:
        self._admin = topics.TopicAdmin(config)
        self._reader = log_reader.LogReader(config)
        self._topic = topic

    def read(self, on_progress: ports.Progress) -> Mapping[int, journal_order.Row] | None:
        """Return all its rows by number; None when the topic, or the beginning of it, is gone."""
        marks = self._marks()
        if not marks or any(mark.begin > 0 for mark in marks.values()) or not any(mark.end for mark in marks.values()):
            return None
        total = sum(mark.end for mark in marks.values())
        return journal_order.rows(_counted(self._reader.read([self._topic]), total, on_progress))

    def last_rows(self) -> Mapping[int, journal_order.Row]:
        """Return the last rows, a few, by number; none of a topic that is empty or gone."""
        step = _FIRST_STEP
        while True:
            marks = self._marks()
            starts = {key: max(mark.begin, mark.end - step) for key, mark in marks.items()}
            found = list(self._reader.read([self._topic], start=starts)) if marks else []
            if found or all(starts[key] == mark.begin for key, mark in marks.items()):
                return journal_order.rows(found)
            step *= 10

    def _marks(self) -> Mapping[topics.TopicPartition, topics.Watermarks]:
        return self._admin.watermarks(self._admin.partitions([self._topic]))


def _counted(records: Iterator[messages.Record], total: int, on_progress: ports.Progress) -> Iterator[messages.Record]:
    for number, record in enumerate(records):
        if number % _PROGRESS_EVERY == 0:
            on_progress("reading the journal", number, total)
        yield record
    on_progress("reading the journal", total, total)
