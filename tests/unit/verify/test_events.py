"""Events: one is lost, repeated, misplaced or strange, and is named."""

from __future__ import annotations

from allocation.domain import commands
from allocation.service_layer import external_events, messages
from allocation.service_layer.operations.verify import snapshot
from tests.unit.verify import world as builders
from tests.unit.verify.world import A, B


def the_event(world: builders.World, topic: str, index: int = 0) -> messages.Record:
    return world.topics[topic][index]


def test_a_lost_event_is_a_gap_in_its_sku(world: builders.World) -> None:
    world.topics["line_deallocated"].clear()
    assert "events: CHAIR event 3 is neither on a topic nor in the outbox" in world.findings()


def test_lost_events_at_the_end_are_found_by_the_counter(world: builders.World) -> None:
    world.products["CHAIR"] = world.products["CHAIR"]._replace(event_sequence=9)
    assert "events: CHAIR events 6 to 9 are neither on a topic nor in the outbox" in world.findings()


def test_an_event_that_is_twice_on_its_topic_is_found_with_both_offsets(world: builders.World) -> None:
    twice = the_event(world, "line_allocated")
    world.append(messages.OutboxMessage(twice.topic, twice.key, twice.value, twice.headers))
    (text,) = world.findings()
    assert text.startswith("events: line_allocated/0/3 event 1 of CHAIR is there twice: id ")
    assert text.endswith("is also at line_allocated/0/0")


def test_two_events_with_one_number_are_found(world: builders.World) -> None:
    cause = world.sent(commands.Allocate("o7", "CHAIR", 1), id="c4")
    world.announced(external_events.OutOfStock("CHAIR", "o7", 1), cause, ordinal=9, sequence=5)
    assert "events: CHAIR two events have number 5: at out_of_stock/0/0 and at out_of_stock/0/1" in world.findings()


def test_events_of_a_sku_out_of_order_are_found(world: builders.World) -> None:
    log = world.topics["line_allocated"]
    first, second = log[0], log[1]
    log[0], log[1] = second._replace(offset=0), first._replace(offset=1)
    assert world.findings() == [
        "events: line_allocated/0/1 event 1 of CHAIR comes after its event 2 in the same partition"
    ]


def test_an_event_still_in_the_outbox_although_a_later_one_was_sent_is_found(world: builders.World) -> None:
    left = world.topics["line_allocated"].pop(1)
    world.outbox.append(snapshot.OutboxRow(7, left.topic, left.key, left.value, left.headers, is_quarantined=False))
    assert world.findings() == [
        "events: outbox row 7 event 2 of CHAIR is not sent yet, though its event 4 comes before it"
    ]


def test_what_is_no_event_on_a_topic_of_events_is_found(world: builders.World) -> None:
    real = the_event(world, "line_allocated")
    for key, value, headers in (
        (real.key, None, real.headers),
        (real.key, b"junk", real.headers),
        (b"TABLE", real.value, real.headers),
        (real.key, real.value, ()),
        (real.key, real.value, ((messages.CE_SEQUENCE, b"one"),)),
    ):
        world.append(messages.OutboxMessage("line_allocated", key, value, headers))
    reasons = [text.partition("is no event of this service: ")[2] for text in world.findings()]
    assert reasons == [
        "its value is null",
        "the value begins with byte 0x6a; the Confluent wire format begins with 0x00 and a schema id",
        "its key is b'TABLE', not its sku CHAIR",
        "it has no header ce_sequence",
        "its header ce_sequence is 'one', which is no number",
    ]


def test_unsent_events_count_as_published() -> None:
    world = builders.World()
    world.relays = False
    world.created("early", "CHAIR", 10)
    world.allocated("o1", "CHAIR", 3, "early")
    report = world.verify()
    assert report.findings == []
    assert report.notes == {"messages in the outbox, not sent yet": 3}
    del world.outbox[2]
    assert "events: CHAIR event 1 is neither on a topic nor in the outbox" in world.findings()


def test_an_event_that_is_sent_after_the_snapshot_counts_once() -> None:
    world = builders.World()
    world.relays = False
    world.created("early", "CHAIR", 10)
    world.allocated("o1", "CHAIR", 3, "early")
    world.refused(world.sent_fields("Allocate", {"orderid": "", "sku": "CHAIR", "qty": 1}))
    world.freeze()
    world.relay()
    assert world.findings() == []


def test_what_is_newer_than_the_snapshot_is_left_out(world: builders.World) -> None:
    waiting = world.sent(commands.Allocate("o8", "LAMP", 1))
    world.waited(waiting)
    world.freeze()
    world.allocated("o5", "CHAIR", 1, "late")
    world.created("lamps", "LAMP", 4)
    world.refused(waiting, "invalid_sku", what="expired")
    world.refused(world.sent_fields("Allocate", {"orderid": "o9", "sku": "CHAIR", "qty": 0}))
    report = world.verify()
    assert report.findings == []
    assert report.notes == {"events published after the database was read, left out": 1, "commands that wait": 1}


def test_a_topic_that_is_ahead_of_the_database_is_found(world: builders.World) -> None:
    world.freeze()
    world.allocated("o5", "CHAIR", 1, "late")
    assert world.frozen is not None
    world.products, world.journal = dict(world.frozen.products), list(world.frozen.journal)
    assert world.findings() == [
        "events: CHAIR event 6 is on its topic, but the database counts 5 only: was it restored from a back-up?",
        "journal: row 7 is at allocation.journal/0/6, but not in the database: was it restored from a back-up?",
    ]


def test_an_event_that_is_announced_again_on_request_is_left_out(world: builders.World) -> None:
    again = the_event(world, "line_allocated")
    headers = (*again.headers, (messages.RESENT, b"1"))
    world.append(messages.OutboxMessage(again.topic, again.key, again.value, headers))
    report = world.verify()
    assert report.findings == []
    assert report.notes == {"events announced a second time on request, left out": 1}


def test_a_line_that_is_allocated_twice_by_the_events_is_named(world: builders.World) -> None:
    cause = world.allocated("o4", "CHAIR", 1, "late")
    world.announced(external_events.LineAllocated(*B, "early"), cause, ordinal=1)
    text = "lines: order o2, 3 of CHAIR line_allocated/0/4 allocates it to early, though it is in late already"
    assert text in world.findings()


def test_a_line_that_leaves_a_batch_that_it_is_not_in_is_named(world: builders.World) -> None:
    cause = world.changed("late", 9)
    world.announced(external_events.LineDeallocated(*A, "late"), cause)
    assert (
        "lines: order o1, 3 of CHAIR line_deallocated/0/1 takes it off late, though it is in early" in world.findings()
    )


def test_what_is_wrong_with_an_event_in_the_outbox_is_found(world: builders.World) -> None:
    again = the_event(world, "line_allocated")
    world.relays = False
    world.allocated("o5", "CHAIR", 1, "late")
    row = world.outbox[-1]
    world.outbox.append(row._replace(id=row.id + 1))
    world.outbox.append(row._replace(id=row.id + 2, value=None))
    world.outbox.append(row._replace(id=row.id + 3, value=again.value, headers=again.headers))  # sent meanwhile
    first, second = world.findings()
    assert first.startswith("events: outbox row 3 event 6 of CHAIR is there twice: id ")
    assert second == "events: outbox row 4 is no event of this service: its value is null"
