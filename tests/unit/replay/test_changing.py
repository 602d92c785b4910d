"""Skipping, handling anew, and publishing again: what they do, what they leave, and what they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.service_layer import messages, ports, reading, unit_of_work
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import again, pacing, resending, skipping, targets
from allocation.service_layer.operations.replay import ports as replaying
from tests.unit.replay import world
from tests.unit.replay.world import AT, LOG, NAMES, NOTE, World

if TYPE_CHECKING:
    from collections import Counter

BATCHES = replaying.TopicPartition("create_batch", 0)
AT_ONCE = pacing.Pace(lambda _limit: 0, 1)
ALLOCATED = replaying.TopicPartition("line_allocated", 0)


@pytest.fixture
def outside() -> World:
    return World()


def order(
    outside: World, orderid: str, *, qty: int = 1, sku: str = "LAMP", headers: messages.Headers = ()
) -> messages.Record:
    own = headers or ((messages.CE_ID, orderid.encode()),)
    return outside.put(AT, "Allocate", orderid=orderid, sku=sku, qty=qty, headers=own)


def stock(outside: World, ref: str, qty: int) -> messages.Record:
    return outside.put(BATCHES, "CreateBatch", ref=ref, sku="LAMP", qty=qty, eta=None)


def skip(outside: World, to: int, *, dry_run: bool = False) -> skipping.Skipped:
    skipper = skipping.Skipper(logs=outside, positions=outside.positions, begin=outside.begin)
    return skipper.skip(AT, targets.ToOffset(to), NOTE, dry_run=dry_run, on_progress=world.no_progress)


def handle_again(outside: World, *, dry_run: bool = False) -> tuple[list[again.Attempt], Counter[str]]:
    tally = again.Tally()
    handling = again.Again(
        logs=outside,
        begin=outside.begin,
        reader=reading.MessageReader(topics=NAMES, deserializer=outside.values),
        pace=AT_ONCE,
    )
    attempts = handling.run(
        {AT: 0}, {AT: len(outside.records[AT])}, NOTE, tally=tally, dry_run=dry_run, on_progress=world.no_progress
    )
    return list(attempts), tally.left


def sent(outside: World) -> list[messages.OutboxMessage]:
    return [one for one in outside.database.state.outbox if one.topic == AT.topic]


def test_what_is_skipped_is_never_handled_and_the_journal_and_the_audit_say_so(outside: World) -> None:
    first, *rest = [order(outside, f"o{number}") for number in range(4)]
    outside.handle(first)
    assert skip(outside, 3, dry_run=True) == skipping.Skipped(AT, 1, 2, 2)
    assert outside.positions()[LOG].next_offset == 1

    assert skip(outside, 3) == skipping.Skipped(AT, 1, 2, 2)
    position = outside.positions()[LOG]
    assert (position.next_offset, position.last_offset) == (3, 2)
    assert position.last_digest == reading.record_digest(rest[1])
    assert outside.database.state.journal[-1] == (unit_of_work.JournalEntry("skipped", "allocate", 0, 1, 2),)
    assert outside.audited == [audit.Entry("replay.skipped", "allocate/0 offsets 1 to 2", NOTE)]
    outside.handle(first, *rest)
    assert [entry.offset for entry in outside.database.state.inbox.values()] == [0, 3]


def test_a_log_that_was_never_read_can_be_skipped_from_its_beginning(outside: World) -> None:
    order(outside, "o1")
    assert skip(outside, 1).first == 0
    assert outside.positions()[LOG].next_offset == 1


@pytest.mark.parametrize(("to", "why"), [(1, "handled up to offset 1"), (0, "handled up to"), (9, "there is no 9")])
def test_what_is_behind_or_not_there_cannot_be_skipped(outside: World, to: int, why: str) -> None:
    outside.handle(order(outside, "o1"))
    order(outside, "o2")
    with pytest.raises(replaying.CannotReplay, match=why):
        skip(outside, to)


def test_in_a_log_that_does_not_fit_nothing_is_skipped_before_that_is_decided(outside: World) -> None:
    outside.handle(order(outside, "o1"))
    order(outside, "o2")
    order(outside, "o3")
    outside.begins[AT] = 2
    with pytest.raises(replaying.CannotReplay, match="position adopt"):
        skip(outside, 3)


def test_a_part_that_holds_no_record_is_skipped_and_the_log_recognised_as_before(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside.handle(order(outside, "o1"))
    order(outside, "a marker of a transaction")
    before = outside.positions()[LOG]
    monkeypatch.setattr(outside, "between", lambda _starts, _ends: iter(()))
    assert skip(outside, 2).commands == 0
    assert outside.positions()[LOG] == before._replace(next_offset=2)


def test_a_long_skip_shows_its_progress(outside: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipping, "_PROGRESS_EVERY", 2)
    for number in range(5):
        order(outside, f"o{number}")
    told: list[tuple[str, int, int]] = []
    skipper = skipping.Skipper(logs=outside, positions=outside.positions, begin=outside.begin)
    skipper.skip(
        AT,
        targets.ToOffset(5),
        NOTE,
        dry_run=True,
        on_progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert told == [("allocate/0", 2, 5), ("allocate/0", 4, 5)]


def test_a_skip_that_meets_a_worker_starts_over(outside: World) -> None:
    order(outside, "o1")
    outside.database.failures = [ports.Retryable("the position was moved")]
    skip(outside, 1)
    assert len(outside.database.state.journal) == 1


def test_lines_that_found_no_room_go_out_as_next_attempts_and_what_is_allocated_stays(outside: World) -> None:
    outside.handle(stock(outside, "b1", 1), *[order(outside, f"o{number}") for number in (1, 2, 3)])
    outside.handle(stock(outside, "b2", 1))
    tried, left = handle_again(outside, dry_run=True)
    assert [(one.line.orderid, one.number, one.batchref) for one in tried] == [("o2", 2, "b2"), ("o3", 2, None)]
    assert left == {"allocated": 1}
    assert (sent(outside), outside.audited) == ([], [])

    assert handle_again(outside) == (tried, left)
    assert [dict(one.headers) for one in sent(outside)] == [
        {messages.CE_ID: orderid, messages.ATTEMPT: b"2"} for orderid in (b"o2", b"o3")
    ]
    assert [entry.subject for entry in outside.audited] == [
        "allocate/0/1 as attempt 2", "allocate/0/2 as attempt 2",
    ]  # fmt: skip


def test_handled_anew_a_line_gets_the_room_that_was_told_beforehand(outside: World) -> None:
    outside.handle(stock(outside, "b1", 1), order(outside, "o1", qty=2))
    outside.handle(stock(outside, "b2", 5))
    ((attempt,), _) = handle_again(outside)
    (outgoing,) = sent(outside)
    outside.handle(outside.put(AT, "Allocate", orderid="o1", sku="LAMP", qty=2, headers=outgoing.headers))
    assert outside.database.state.inbox[attempt.message.id].result == attempt.batchref == "b2"


def test_a_command_without_an_id_goes_out_under_the_identity_that_its_place_gave_it(outside: World) -> None:
    outside.handle(stock(outside, "b1", 1))
    outside.handle(outside.put(AT, "Allocate", orderid="o1", sku="LAMP", qty=9))
    handle_again(outside)
    assert dict(sent(outside)[0].headers) == {
        messages.CE_ID: b"id of allocate/0/0", messages.CE_SOURCE: b"kafka", messages.ATTEMPT: b"2",
    }  # fmt: skip


def test_what_was_skipped_can_be_handled_after_all(outside: World) -> None:
    order(outside, "o1", sku="SOFA")
    skip(outside, 1)
    ((attempt,), _) = handle_again(outside, dry_run=True)
    assert (attempt.number, attempt.batchref) == (2, None)


def test_what_was_refused_waits_or_cannot_be_read_is_left_with_the_reason(outside: World) -> None:
    outside.handle(stock(outside, "b1", 1))
    outside.handle(order(outside, "o1", sku="NONE"))
    outside.handle(order(outside, "o2", qty=5))
    outside.handle(order(outside, "x", qty=7, headers=((messages.CE_ID, b"o2"),)))
    outside.handle(order(outside, "o2", qty=5))
    outside.handle(outside.put(AT, "Allocate", orderid="", sku="LAMP", qty=1))
    parked = order(outside, "o4", qty=6)
    outside.handle(parked)
    id_ = messages.MessageId("", "o4")
    known = outside.database.state.inbox[id_]
    outside.database.state.inbox[id_] = unit_of_work.InboxEntry(
        id_, 1, known.digest, "waiting", "allocate", 0, parked.offset
    )
    attempts, left = handle_again(outside)
    assert [one.at for one in attempts] == ["allocate/0/1"]
    assert left == {
        "refused: see `allocation dlq`": 1,
        "refused: its id is another command's": 1,
        "there before, under the same id": 1,
        "no command that can be read": 1,
        "waits: see `allocation parked`": 1,
    }


def test_events_go_out_again_as_they_were_marked_as_resent_and_once(outside: World) -> None:
    own = ((messages.CE_ID, b"id"), (messages.CE_SEQUENCE, b"7"))
    for number in range(4):
        outside.put(ALLOCATED, "LineAllocated", orderid=f"o{number % 2}", sku="LAMP", qty=1, batchref="b1", headers=own)
    outside.put(ALLOCATED, "LineAllocated", orderid="o1", headers=(*own, (messages.RESENT, b"1")))
    outside.put(ALLOCATED, "OutOfStock", orderid="o1")
    resender = resending.Resender(
        logs=outside, begin=outside.begin, deserializer=outside.values, names=NAMES, pace=AT_ONCE
    )

    def resend(wanted: resending.Filter, *, dry_run: bool = False) -> list[int]:
        events = resender.run(["line_allocated"], wanted, NOTE, dry_run=dry_run, on_progress=world.no_progress)
        return [event.record.offset for event in events]

    assert resend(resending.Filter(since=world.time_of(0)), dry_run=True) == [0, 1, 2, 3]
    assert resend(resending.Filter(since=world.time_of(1), until=world.time_of(3)), dry_run=True) == [1, 2]
    assert resend(resending.Filter(since=world.time_of(3), until=world.time_of(1)), dry_run=True) == []
    assert resend(resending.Filter(since=world.time_of(0), skus={"SOFA"}), dry_run=True) == []
    assert outside.database.state.outbox == []

    assert resend(resending.Filter(since=world.time_of(1), orderids={"o1"})) == [1, 3]
    assert outside.database.state.outbox == [
        messages.OutboxMessage("line_allocated", record.key, record.value, (*own, (messages.RESENT, b"1")), sku="LAMP")
        for record in (outside.records[ALLOCATED][1], outside.records[ALLOCATED][3])
    ]
    assert outside.audited == [
        audit.Entry("replay.resent", "2 events, from line_allocated/0/1 to line_allocated/0/3", NOTE)
    ]


def test_what_is_sent_goes_no_faster_than_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "POLL_S", 0.0)
    counts = [7, 7, 6]
    told: list[str] = []
    pacing.Pace(lambda _limit: counts.pop(0), 7).wait(lambda what, *_: told.append(what), "events", 1, 2)
    assert told == ["events; waits for the relay"] * 2
