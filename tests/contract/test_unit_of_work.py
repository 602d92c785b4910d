"""What message processing expects of its unit of work, asked of the fake and of PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from typing import TYPE_CHECKING, Protocol

import pytest

from allocation.adapters.postgres import schema, tables
from allocation.domain import commands, model
from allocation.service_layer import external_events, messages, ports, unit_of_work
from tests import builders, databases, installations

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import devstack

LOG = messages.LogPartition("id of allocate", 0)
POSITION = unit_of_work.Position("allocate", 10, 3, 9, b"\0digest\xff")
AN_HOUR_LATER = builders.NOW + datetime.timedelta(hours=1)


class Subject(installations.Installation, Protocol):
    """An installation, and a writer who knows nothing of locks."""

    def overtake(self, sku: str) -> None: ...


class FakeSubject(installations.FakeInstallation):
    def overtake(self, sku: str) -> None:
        self.database.state.products[sku].version_number += 1


class PostgresSubject(installations.PostgresInstallation):
    def overtake(self, sku: str) -> None:
        table = tables.products
        with self._database.begin() as connection:
            raised = {"version_number": table.c.version_number + 1}
            connection.execute(table.update().where(table.c.sku == sku).values(raised))


@pytest.fixture(scope="module")
def database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as fresh:
        schema.migrate(fresh)
        yield fresh


@pytest.fixture(params=["fake", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return FakeSubject()
    postgres = PostgresSubject(request.getfixturevalue("database"))
    postgres.empty()
    return postgres


def claim(uow: unit_of_work.MessageUnitOfWork, *given: commands.Command) -> None:
    uow.claim([builders.a_message(command) for command in given])


def store(subject: Subject, *batches: model.Batch, sku: str = "LAMP") -> None:
    """Store a product of these batches."""
    with subject.begin() as uow:
        claim(uow, *(commands.CreateBatch(batch.reference, sku, batch.created_quantity) for batch in batches))
        product = uow.products.get(sku)
        if product is None:
            product = model.Product(sku, [])
            uow.products.add(product)
        for batch in batches:
            product.add_batch(batch)
        uow.commit()


def a_parked(
    command: commands.Command | None = None,
    *,
    queue: str = "sku:LAMP",
    state: str = "waiting",
    message: messages.Message | None = None,
    expires_at: datetime.datetime | None = AN_HOUR_LATER,
) -> unit_of_work.ParkedCommand:
    message = message or builders.a_message(command or builders.an_allocate())
    return unit_of_work.ParkedCommand(queue, state, message, "invalid_sku", "Invalid sku LAMP", expires_at)


def park(subject: Subject, *given: unit_of_work.ParkedCommand) -> None:
    with subject.begin() as uow:
        uow.claim([parked.message for parked in given])
        for parked in given:
            uow.park(parked)
        uow.commit()


def test_its_time_is_the_databases_and_has_a_zone(subject: Subject) -> None:
    with subject.begin() as uow:
        assert uow.now.utcoffset() == datetime.timedelta(0)


def test_a_product_comes_back_as_it_was(subject: Subject) -> None:
    early, late = a_line(), a_line(qty=4)
    store(subject, builders.a_batch("b1", qty=10, eta=builders.TODAY, lines=[early, late]), builders.a_batch("b2"))
    with subject.begin() as uow:
        claim(uow, commands.ChangeBatchQuantity("b1", 0))
        product = uow.products.get("LAMP")
        assert product is not None
        assert product.version_number == 2
        assert [batch.reference for batch in product.batches] == ["b2", "b1"]
        batch = product.batches[1]
        assert (batch.created_quantity, batch.purchased_quantity, batch.eta) == (10, 10, builders.TODAY)
        assert (batch.allocated_quantity, batch.lines) == (5, (early, late))


def a_line(*, qty: int = 1) -> model.OrderLine:
    return builders.a_line(qty=qty)


def test_a_product_is_found_by_its_batches(subject: Subject) -> None:
    store(subject, builders.a_batch("b1"))
    with subject.begin() as uow:
        claim(uow, commands.ChangeBatchQuantity("b1", 1), commands.ChangeBatchQuantity("b2", 1))
        product = uow.products.get_by_batchref("b1")
        assert product is not None
        assert product.sku == "LAMP"
        assert uow.products.get_by_batchref("b2") is None


def test_what_nobody_created_is_not_there(subject: Subject) -> None:
    with subject.begin() as uow:
        claim(uow, builders.an_allocate())
        assert uow.products.get("LAMP") is None


def test_a_product_added_is_found_before_the_commit(subject: Subject) -> None:
    with subject.begin() as uow:
        claim(uow, commands.CreateBatch("b1", "LAMP", 1))
        uow.products.add(product := model.Product("LAMP", []))
        product.add_batch(builders.a_batch("b1"))
        assert uow.products.get("LAMP") is product
        assert uow.products.get_by_batchref("b1") is product


def test_nothing_is_kept_without_a_commit(subject: Subject) -> None:
    before = subject.contents()
    with subject.begin() as uow:
        claim(uow, commands.CreateBatch("b1", "LAMP", 1))
        uow.products.add(product := model.Product("LAMP", []))
        product.add_batch(builders.a_batch("b1"))
        uow.send(messages.OutboxMessage("topic", b"key", b"value", ()))
        uow.record(an_entry())
        uow.park(a_parked())
        uow.next_sequence("LAMP")
        uow.advance(LOG, expected=None, new=POSITION)
    assert subject.contents() == before


def test_an_error_in_the_block_rolls_back(subject: Subject) -> None:
    before = subject.contents()
    with contextlib.suppress(ZeroDivisionError), subject.begin() as uow:
        claim(uow, commands.CreateBatch("b1", "LAMP", 1))
        uow.journal([])
        raise ZeroDivisionError
    assert subject.contents() == before


def test_a_stale_writer_is_refused(subject: Subject) -> None:
    store(subject, builders.a_batch("b1"))
    with subject.begin() as uow:
        claim(uow, line := builders.an_allocate())
        product = uow.products.get("LAMP")
        assert product is not None
        product.allocate(model.OrderLine(line.orderid, "LAMP", 1))
        subject.overtake("LAMP")
        with pytest.raises(ports.Retryable):
            uow.commit()
    assert subject.contents().batches["b1"].allocated == 0


def test_events_are_collected_once_in_the_order_in_which_they_happened(subject: Subject) -> None:
    store(subject, builders.a_batch("b1", qty=5))
    with subject.begin() as uow:
        claim(uow, *(lines := [builders.an_allocate(qty=3), builders.an_allocate(qty=3)]))
        product = uow.products.get("LAMP")
        assert product is not None
        for line in lines:
            product.allocate(model.OrderLine(line.orderid, line.sku, line.qty))
        kinds = [type(event).__name__ for event in uow.collect_new_events()]
        assert kinds == ["Allocated", "OutOfStock"]
        assert list(uow.collect_new_events()) == []


def test_announcements_are_taken_once(subject: Subject) -> None:
    event = external_events.OutOfStock("LAMP", "o1", 1)
    with subject.begin() as uow:
        uow.announce(event)
        assert list(uow.take_announced()) == [event]
        assert list(uow.take_announced()) == []


def test_events_of_a_sku_are_numbered_without_gaps(subject: Subject) -> None:
    store(subject, builders.a_batch("b1"))
    for expected in ((1, 2), (3, 4)):
        with subject.begin() as uow:
            claim(uow, builders.an_allocate())
            assert (uow.next_sequence("LAMP"), uow.next_sequence("LAMP")) == expected
            uow.commit()
    with subject.begin() as uow:
        claim(uow, builders.an_allocate())
        assert uow.next_sequence("LAMP") == 5
    with subject.begin() as uow:
        claim(uow, builders.an_allocate())
        assert uow.next_sequence("LAMP") == 5


def test_positions_come_back_as_they_were_moved(subject: Subject) -> None:
    other = LOG._replace(partition=1)
    with subject.begin() as uow:
        assert dict(uow.positions([LOG, other])) == {}
        uow.advance(LOG, expected=None, new=POSITION)
        uow.commit()
    with subject.begin() as uow:
        assert dict(uow.positions([LOG, other])) == {LOG: POSITION}
        uow.advance(LOG, expected=POSITION, new=POSITION._replace(next_offset=11))
        uow.commit()
    assert subject.contents().positions == {LOG: POSITION._replace(next_offset=11)}


@pytest.mark.parametrize("expected", [None, POSITION._replace(next_offset=9), POSITION._replace(next_offset=11)])
def test_a_position_moves_only_from_where_it_was_read(subject: Subject, expected: unit_of_work.Position | None) -> None:
    with subject.begin() as uow:
        uow.advance(LOG, expected=None, new=POSITION)
        uow.commit()
    with subject.begin() as uow:
        uow.send(messages.OutboxMessage("topic", b"key", b"value", ()))
        uow.advance(LOG, expected=expected, new=POSITION._replace(next_offset=20))
        with pytest.raises(ports.Retryable):
            uow.commit()
    contents = subject.contents()
    assert (contents.positions, contents.outbox) == ({LOG: POSITION}, [])


def test_a_position_that_is_gone_cannot_be_moved(subject: Subject) -> None:
    with subject.begin() as uow:
        uow.advance(LOG, expected=POSITION, new=POSITION._replace(next_offset=20))
        with pytest.raises(ports.Retryable):
            uow.commit()


def an_entry(name: str = "m1", **more: str | None) -> unit_of_work.InboxEntry:
    return unit_of_work.InboxEntry(
        id=messages.MessageId("test", name),
        attempt=2,
        digest=b"\0digest\xff",
        outcome=more.get("outcome") or "handled",
        topic="allocate",
        partition=3,
        offset=2**40,
        result=more.get("result"),
        reason=more.get("reason"),
        error=more.get("error"),
    )


@pytest.mark.parametrize(
    "entry", [an_entry(result="b\t1\n\\"), an_entry(outcome="refused", reason="invalid", error="größer\r\n\\N\\.")]
)
def test_an_inbox_entry_comes_back_as_it_was_recorded(subject: Subject, entry: unit_of_work.InboxEntry) -> None:
    message = builders.a_message(builders.an_allocate(), id="m1")
    with subject.begin() as uow:
        uow.claim([message])
        assert uow.inbox_entry(message.id) is None
        uow.record(entry)
        assert uow.inbox_entry(message.id) == entry
        uow.commit()
    with subject.begin() as uow:
        uow.claim([message])
        assert uow.inbox_entry(message.id) == entry


def test_an_inbox_entry_is_replaced_by_a_later_one(subject: Subject) -> None:
    message = builders.a_message(builders.an_allocate(), id="m1")
    later = an_entry(outcome="refused", reason="invalid_sku", error="Invalid sku LAMP")
    for entries in ([an_entry(outcome="waiting"), an_entry(result="b1")], [later]):
        with subject.begin() as uow:
            uow.claim([message])
            for entry in entries:
                uow.record(entry)
            uow.commit()
    assert subject.contents().inbox == {message.id: later}


def test_the_entries_of_parked_commands_can_be_replaced_too(subject: Subject) -> None:
    parked = a_parked(message=builders.a_message(builders.an_allocate(), id="m1"))
    park(subject, parked)
    with subject.begin() as uow:
        uow.claim([parked.message])
        uow.record(an_entry(outcome="waiting"))
        uow.commit()
    for later in (an_entry(outcome="waiting", reason="failed", error="LookupError: a bug"), an_entry(result="b1")):
        with subject.begin() as uow:
            claim(uow, builders.an_allocate())
            uow.record(later)
            uow.commit()
        assert subject.contents().inbox == {messages.MessageId("test", "m1"): later}


@pytest.mark.parametrize(
    "command",
    [
        commands.CreateBatch("b\t1", "LAMP", 10, builders.TODAY),
        commands.CreateBatch("b1", "LAMP", 10),
        commands.Allocate("Bestellung ä\n\\N", "LAMP", 2**31 - 1),
        commands.ChangeBatchQuantity("b1", 0, "LAMP"),
    ],
)
def test_a_parked_command_comes_back_to_the_byte(subject: Subject, command: commands.Command) -> None:
    headers = (("a", None), ("a", b"\0\xff\\"), ("", b""), ("ü\n", "ü\t".encode()))
    record = builders.a_record(b"\0\1\2\\\xff", key=None, partition=4, offset=2**40, headers=headers)
    parked = a_parked(
        message=builders.a_message(command, id="m\n1", source="", attempt=3, waits=False, record=record),
        expires_at=None,
    )
    park(subject, parked)
    with subject.begin() as uow:
        uow.claim([parked.message])
        [found] = uow.parked(["sku:LAMP"])
    assert found.id is not None
    assert (found.queue, found.state, found.reason, found.error) == (
        "sku:LAMP", "waiting", "invalid_sku", "Invalid sku LAMP",
    )  # fmt: skip
    assert (found.message, found.expires_at) == (parked.message, None)


def test_a_queue_keeps_its_order_over_units_of_work(subject: Subject) -> None:
    first, second, third = (a_parked() for _ in range(3))
    park(subject, first, second)
    park(subject, third)
    with subject.begin() as uow:
        uow.claim([first.message])
        fourth = a_parked()
        uow.park(fourth)
        found = [parked.message.record.offset for parked in uow.parked(["sku:LAMP"])]
    assert found == [parked.message.record.offset for parked in (first, second, third, fourth)]


def test_several_queues_are_one_order(subject: Subject) -> None:
    given = [
        a_parked(commands.ChangeBatchQuantity("b1", number), queue=queue)
        if queue == "ref:b1"
        else a_parked(commands.ChangeBatchQuantity("b1", number, queue.removeprefix("sku:")), queue=queue)
        for number, queue in enumerate(["sku:VASE", "ref:b1", "sku:LAMP", "ref:b1", "sku:VASE"])
    ]
    park(subject, *given[:2])
    with subject.begin() as uow:
        uow.claim([parked.message for parked in given])
        for parked in given[2:]:
            uow.park(parked)
        found = uow.parked({"ref:b1", "sku:LAMP", "sku:VASE"})
        assert [parked.message for parked in found] == [parked.message for parked in given]
        assert list(uow.parked(["sku:LAMP"])) == [given[2]]
        assert set(uow.queues_naming("b1")) == {"ref:b1", "sku:LAMP", "sku:VASE"}


def test_what_was_taken_out_is_gone(subject: Subject) -> None:
    stored, kept = a_parked(), a_parked()
    park(subject, stored, kept)
    with subject.begin() as uow:
        uow.claim([stored.message])
        fresh = a_parked()
        uow.park(fresh)
        uow.unpark(fresh)
        uow.unpark(uow.parked(["sku:LAMP"])[0])
        assert [parked.message for parked in uow.parked(["sku:LAMP"])] == [kept.message]
        uow.commit()
    assert [message for _, _, message, _ in subject.contents().parked] == [kept.message]


def test_what_is_parked_for_another_reason_keeps_its_place(subject: Subject) -> None:
    stored, behind, fresh = a_parked(), a_parked(), a_parked()
    park(subject, stored, behind)
    with subject.begin() as uow:
        uow.claim([stored.message])
        uow.park(fresh)
        for one in (uow.parked(["sku:LAMP"])[0], fresh):
            uow.repark(dataclasses.replace(one, state="queued", reason="queued", error="another", expires_at=None))
        uow.commit()
    with subject.begin() as uow:
        uow.claim([stored.message])
        found = uow.parked(["sku:LAMP"])
    assert [(one.message, one.state, one.reason, one.error, one.expires_at) for one in found] == [
        (stored.message, "queued", "queued", "another", None),
        (behind.message, "waiting", "invalid_sku", "Invalid sku LAMP", AN_HOUR_LATER),
        (fresh.message, "queued", "queued", "another", None),
    ]


def test_a_batch_of_another_sku_that_a_released_command_names_is_known(subject: Subject) -> None:
    store(subject, model.Batch("b2", "SOFA", 10), sku="SOFA")
    park(subject, *(a_parked(commands.ChangeBatchQuantity(ref, 7, "LAMP")) for ref in ("b1", "b2")))
    with subject.begin() as uow:
        uow.claim([builders.a_message(commands.CreateBatch("b1", "LAMP", 10))], heads_suffice=True)
        owner = uow.products.get_by_batchref("b2")
    assert owner is not None
    assert owner.sku == "SOFA"


def test_queues_are_told_by_the_batch_that_their_commands_name(subject: Subject) -> None:
    change = a_parked(commands.ChangeBatchQuantity("b1", 1, "LAMP"))
    park(subject, change, a_parked(commands.Allocate("b1", "LAMP", 1)))
    with subject.begin() as uow:
        claim(uow, commands.CreateBatch("b1", "VASE", 1), commands.CreateBatch("b2", "VASE", 1))
        assert set(uow.queues_naming("b1")) == {"sku:LAMP"}
        assert set(uow.queues_naming("b2")) == set()
        uow.unpark(next(one for one in uow.parked(["sku:LAMP"]) if one.message == change.message))
        assert set(uow.queues_naming("b1")) == set()


def test_the_outbox_keeps_order_and_bytes(subject: Subject) -> None:
    outgoing = [
        messages.OutboxMessage("a", None, None, (("h", None), ("h", b"\xff\0"))),
        messages.OutboxMessage("b", b"", b"\\\t\n\0", (), sku="LAMP\t"),
        messages.OutboxMessage("a", b"key", b"", ()),
    ]
    with subject.begin() as uow:
        for one in outgoing:
            uow.send(one)
        uow.journal([unit_of_work.JournalEntry("handled", "allocate", 0, 1, 2)])
        uow.commit()
    assert [(one.topic, one.key, one.value, one.headers, one.sku) for one in subject.contents().outbox] == [
        (one.topic, one.key, one.value, one.headers, one.sku) for one in outgoing
    ]
