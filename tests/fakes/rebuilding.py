"""What a rebuild reads and fills, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer.operations.replay import journal_order, rebuilding_batch
from allocation.service_layer.operations.replay import rebuilding_ports as ports
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    import datetime
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from allocation.service_layer import messages, unit_of_work


class FakeRebuildUnitOfWork(fakes.FakeUnitOfWork):
    def seek(self, places: Collection[ports.Place]) -> None:
        self._sought = set(places)

    def waiting_at(self, place: ports.Place) -> unit_of_work.ParkedCommand | None:
        assert place in self._sought
        return next((one for one in self._state.parked if rebuilding_batch.place_of(one.message.record) == place), None)

    def keep_journal(self, rows: Sequence[journal_order.Row]) -> None:
        self._state.journal.extend(row.entries for row in rows)


class FakeTarget:
    def __init__(self, database: fakes.FakeDatabase) -> None:
        self.database = database

    def begin(self, outbound: ports.Outbound) -> FakeRebuildUnitOfWork:
        del outbound
        return FakeRebuildUnitOfWork(self.database)

    def known(self) -> journal_order.Known:
        return journal_order.Known(range(1, len(self.database.state.journal) + 1))

    def parked(self) -> Iterable[messages.Message]:
        return [one.message for one in self.database.state.parked]

    def finish(self) -> None:
        pass


class FakeLogs:
    def __init__(self, records: Sequence[messages.Record]) -> None:
        self._records = records
        self.total = len(records)
        self.passed_over = 0

    def take(self, entry: unit_of_work.JournalEntry) -> Sequence[messages.Record]:
        return [
            one
            for one in self._records
            if (one.topic, one.partition) == (entry.topic, entry.partition) and entry.first <= one.offset <= entry.last
        ]

    def in_order_of_time(self, *, until: datetime.datetime | None) -> Iterator[messages.Record]:
        del until
        return iter(self._records)
