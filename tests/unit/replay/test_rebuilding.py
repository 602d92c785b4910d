from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.domain import commands
from allocation.service_layer import envelopes, messages, reading, unit_of_work
from allocation.service_layer.operations.replay import journal_order, rebuilding
from allocation.service_layer.operations.replay import rebuilding_ports as ports
from tests import builders, installations
from tests.fakes import rebuilding as fake_rebuilding
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Sequence

VALUES = serde.FakeSerde()
BATCH = commands.CreateBatch("b1", "LAMP", 10)
LINE = commands.Allocate("o1", "LAMP", 3)


def a_record(command: commands.Command | None, offset: int = 0) -> messages.Record:
    """A record with a command, or with bytes that are none."""
    if command is None:
        return builders.a_record(b"no command", topic=installations.NAMES.allocate, offset=offset)
    name = type(command).__name__
    value = VALUES.serialize(name, envelopes.command_fields(command))
    return builders.a_record(value, topic=installations.NAMES.commands[name], offset=offset)


def a_row(number: int, *entries: tuple[str, messages.Record]) -> journal_order.Row:
    said = tuple(
        unit_of_work.JournalEntry(what, one.topic, one.partition, one.offset, one.offset) for what, one in entries
    )
    return journal_order.Row(number, builders.NOW, "1", said)


class World:
    """An empty database, and logs with these records."""

    def __init__(self, *records: messages.Record) -> None:
        self.database = fakes.FakeDatabase()
        self._rebuild = rebuilding.Rebuild(
            target=fake_rebuilding.FakeTarget(self.database),
            logs=fake_rebuilding.FakeLogs(records),
            reader=reading.MessageReader(topics=installations.NAMES, deserializer=VALUES),
            envelopes=envelopes.Envelopes(topics=installations.NAMES, serializer=VALUES),
            outbound=ports.Suppressed(),
            grace_s=0,
        )

    def by_journal(self, rows: Sequence[journal_order.Row]) -> rebuilding.Summary:
        return self._rebuild.by_journal(rows, on_progress=lambda _what, _done, _total: None)

    def by_time(self) -> rebuilding.Summary:
        return self._rebuild.by_time(until=None, on_progress=lambda _what, _done, _total: None)

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(entry.outcome, entry.reason) for entry in self.database.state.inbox.values()]


def test_a_command_that_could_not_be_handled_then_is_refused_although_it_would_go_through_now() -> None:
    batch, line = a_record(BATCH), a_record(LINE)
    world = World(batch, line)
    assert world.by_journal([a_row(1, ("handled", batch), ("refused", line))]).counts == {"handled": 1, "refused": 1}
    assert world.outcomes() == [("handled", None), ("refused", "failed")]
    assert world.database.state.products["LAMP"].version_number == 1


def test_a_command_that_waited_waits_also_where_no_grace_is_given() -> None:
    line = a_record(LINE)
    world = World(line)
    world.by_journal([a_row(1, ("waited", line))])
    assert [parked.state for parked in world.database.state.parked] == ["waiting"]


def test_what_was_skipped_changes_nothing_but_the_position() -> None:
    batch = a_record(BATCH, 7)
    world = World(batch)
    world.by_journal([a_row(1, ("skipped", batch))])
    assert (world.database.state.products, world.outcomes()) == ({}, [])
    assert world.database.state.positions[batch.log].next_offset == 8


@pytest.mark.parametrize(
    ("what", "command", "told"),
    [
        ("handled", None, "says handled of allocate/0/0, but now"),
        ("handled", LINE, "says handled of allocate/0/0, but now: Invalid sku LAMP"),
        ("waited", BATCH, "says waited of create_batch/0/0, but now: it is handled now"),
        ("released", LINE, "says released of allocate/0/0, which is not parked"),
    ],
)
def test_where_the_journal_and_the_handlers_disagree_nothing_is_kept_and_the_place_is_named(
    what: str, command: commands.Command | None, told: str
) -> None:
    record = a_record(command)
    world = World(record)
    with pytest.raises(journal_order.JournalUnusable, match=told):
        world.by_journal([a_row(1, (what, record))])
    assert (world.outcomes(), world.database.state.journal) == ([], [])


def test_a_word_of_another_version_is_named() -> None:
    line = a_record(LINE)
    with pytest.raises(journal_order.JournalUnusable, match="row 2 of the journal says 'teleported' of allocate/0/0"):
        World(line).by_journal([a_row(1, ("waited", line)), a_row(2, ("teleported", line))])


def test_without_a_journal_all_is_handled_and_nothing_is_promised() -> None:
    world = World(a_record(BATCH), a_record(LINE), a_record(None, 1))
    summary = world.by_time()
    assert (summary.counts, summary.is_exact) == ({"handled": 2, "refused": 1}, False)


def test_rows_older_than_what_was_pruned_are_not_done_again() -> None:
    rows = {number: a_row(number) for number in (1, 2, 3)}
    late = rows[3]._replace(handled_at=builders.NOW.replace(year=2031))
    found = rows | {3: late}
    assert journal_order.lacking(found, journal_order.Known({2})) == [rows[1], late]
    assert journal_order.lacking(found, journal_order.Known((), pruned_before=late.handled_at)) == [late]
    assert journal_order.lacking(found, journal_order.Known(()), until=builders.NOW) == [rows[1], rows[2]]


def test_up_to_a_time_no_row_is_done_without_those_before_it() -> None:
    rows = {number: a_row(number) for number in (1, 2, 3)}
    found = rows | {2: rows[2]._replace(handled_at=builders.NOW.replace(year=2031))}
    assert journal_order.lacking(found, journal_order.Known(()), until=builders.NOW) == [rows[1]]
    assert journal_order.lacking(found, journal_order.Known({2}), until=builders.NOW) == [rows[1]]


@pytest.mark.parametrize(
    "value", [None, b"", b"{}", b'{"number": 1, "handled_at": "now", "version": "1", "entries": []}']
)
def test_what_is_no_row_of_a_journal_is_named_by_its_place(value: bytes | None) -> None:
    with pytest.raises(journal_order.JournalUnusable, match="journal/0/5 is no row of a journal"):
        journal_order.rows([builders.a_record(value, topic="journal", offset=5)])


def test_two_rows_of_one_number_are_the_work_of_two_databases() -> None:
    row = b'{"number": 1, "handled_at": "2030-01-01T00:00:00+00:00", "version": "1", "entries": %s}'
    records = [
        builders.a_record(row % entries, topic="journal", offset=offset)
        for offset, entries in enumerate([b"[]", b"[]", b'[["handled", "allocate", 0, 1, 1]]'])
    ]
    assert list(journal_order.rows(records[:2])) == [1]
    with pytest.raises(journal_order.JournalUnusable, match="journal/0/2 has another row 1"):
        journal_order.rows(records)
