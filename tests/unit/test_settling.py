from __future__ import annotations

import datetime

import pytest

from allocation.domain import commands
from allocation.service_layer import envelopes, failures, messages, outcomes, settling, unit_of_work
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

A_BUG = failures.Failure("a bug", "Curse", "abc123")
LINE = commands.Allocate("o1", "LAMP", 3)
BATCH = commands.CreateBatch("b1", "LAMP", 10)
CHANGE = commands.ChangeBatchQuantity("b1", 7)
KNOWING_CHANGE = commands.ChangeBatchQuantity("b1", 7, "LAMP")

WAITS_FOR_SKU = outcomes.Waiting("invalid_sku", "Invalid sku LAMP")
WAITS_FOR_BATCH = outcomes.Waiting("unknown_batch", "Unknown batch b1")


class Desk:
    """Settles messages over a database in memory, a unit of work for each call."""

    def __init__(self, *, grace_s: float = installations.GRACE_S) -> None:
        self.database = fakes.FakeDatabase()
        self._grace = datetime.timedelta(seconds=grace_s)
        self._envelopes = envelopes.Envelopes(topics=installations.NAMES, serializer=serde.FakeSerde())

    def settle(self, *given: commands.Command | messages.Message) -> list[outcomes.Outcome]:
        """Settle these in one micro-batch."""
        asked = [_message(one) for one in given]
        with self.database.begin() as uow:
            uow.claim(asked)
            batch = self._batch(uow)
            found = [batch.settle(message) for message in asked]
            batch.finish()
            uow.commit()
        return found

    def set_aside(self, given: commands.Command | messages.Message) -> None:
        message = _message(given)
        with self.database.begin() as uow:
            uow.claim([message])
            batch = self._batch(uow)
            batch.set_aside(message, A_BUG)
            batch.finish()
            uow.commit()

    def _batch(self, uow: unit_of_work.MessageUnitOfWork) -> settling.MicroBatch:
        return settling.MicroBatch(uow, envelopes=self._envelopes, grace=self._grace)

    @property
    def parked(self) -> list[tuple[str, str, commands.Command | messages.Unreadable]]:
        return [(one.queue, one.state, one.message.command) for one in self.database.state.parked]

    @property
    def sent(self) -> list[str]:
        topics = [one.topic for one in self.database.state.outbox if one.topic != installations.NAMES.journal]
        return [topic.removeprefix("allocation.") for topic in topics]

    @property
    def dead_letters(self) -> list[dict[str, str]]:
        return [
            {name: (value or b"").decode() for name, value in one.headers}
            for one in self.database.state.outbox
            if one.topic == installations.NAMES.dead_letter
        ]

    @property
    def journal(self) -> list[tuple[unit_of_work.JournalEntry, ...]]:
        return self.database.state.journal

    def entry(self, name: str) -> unit_of_work.InboxEntry:
        return self.database.state.inbox[messages.MessageId("test", name)]

    def available(self, ref: str = "b1", sku: str = "LAMP") -> int:
        batches = self.database.state.products[sku].batches
        return next(batch.available_quantity for batch in batches if batch.reference == ref)


def _message(given: commands.Command | messages.Message) -> messages.Message:
    return given if isinstance(given, messages.Message) else builders.a_message(given)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_command_that_is_handled_is_remembered_with_its_result(desk: Desk) -> None:
    desk.settle(BATCH)
    record = builders.a_record(b"12345", topic="allocate", partition=3, offset=14)
    message = builders.a_message(LINE, id="m1", record=record)
    assert desk.settle(message) == [outcomes.Handled("b1")]
    entry = desk.entry("m1")
    assert (entry.outcome, entry.result, entry.attempt, entry.digest) == ("handled", "b1", 1, message.digest)
    assert (entry.topic, entry.partition, entry.offset) == ("allocate", 3, 14)


def test_its_events_go_out_in_order_and_are_counted_by_sku(desk: Desk) -> None:
    desk.settle(BATCH, LINE, commands.Allocate("o2", "LAMP", 4), commands.Allocate("o3", "LAMP", 4))
    desk.settle(KNOWING_CHANGE, commands.ChangeBatchQuantity("b1", 3))
    assert desk.sent == [
        "line_allocated", "line_allocated", "out_of_stock", "line_deallocated", "out_of_stock",
    ]  # fmt: skip
    sequences = [dict(one.headers).get(messages.CE_SEQUENCE) for one in desk.database.state.outbox]
    assert [number for number in sequences if number] == [b"1", b"2", b"3", b"4", b"5"]


def test_events_of_different_skus_are_counted_apart(desk: Desk) -> None:
    desk.settle(BATCH, commands.CreateBatch("v1", "VASE", 1), LINE, commands.Allocate("o1", "VASE", 1))
    assert desk.database.state.sequences == {"LAMP": 1, "VASE": 1}


def test_the_same_message_again_is_a_duplicate(desk: Desk) -> None:
    message = builders.a_message(LINE, id="m1")
    desk.settle(BATCH, message)
    assert desk.settle(message) == [outcomes.Duplicate()]
    assert desk.sent == ["line_allocated"]


def test_the_same_message_twice_in_a_micro_batch_is_a_duplicate(desk: Desk) -> None:
    message = builders.a_message(LINE, id="m1")
    assert desk.settle(BATCH, message, message)[1:] == [outcomes.Handled("b1"), outcomes.Duplicate()]
    assert desk.sent == ["line_allocated"]


def test_a_duplicate_of_a_line_that_is_out_of_stock_is_not_tried_again(desk: Desk) -> None:
    message = builders.a_message(commands.Allocate("o1", "LAMP", 11), id="m1")
    desk.settle(BATCH, message)
    desk.settle(commands.CreateBatch("b2", "LAMP", 20))
    assert desk.settle(message) == [outcomes.Duplicate()]
    assert desk.settle(commands.Allocate("o1", "LAMP", 11)) == [outcomes.Handled("b2")]


def test_the_same_id_with_other_content_is_refused_and_the_first_one_stays(desk: Desk) -> None:
    record = builders.a_record(b"12345 first", topic="allocate", partition=2, offset=5)
    desk.settle(BATCH, builders.a_message(LINE, id="m1", record=record))
    before = desk.entry("m1")
    [outcome] = desk.settle(builders.a_message(commands.Allocate("o2", "LAMP", 1), id="m1"))
    error = "the id m1 of test belongs to another command, at allocate/2/5; send this one anew with an id of its own"
    assert outcome == outcomes.Refused("id_reused", error)
    assert desk.entry("m1") == before
    [letter] = desk.dead_letters
    assert (letter["dead_letter_reason"], letter["dead_letter_error"]) == ("id_reused", error)


def test_an_id_reused_within_a_micro_batch_is_refused_too(desk: Desk) -> None:
    first, second = (builders.a_message(commands.Allocate(order, "LAMP", 1), id="m1") for order in ("o1", "o2"))
    outcome = desk.settle(BATCH, first, second)[2]
    assert isinstance(outcome, outcomes.Refused)
    assert outcome.reason == "id_reused"
    assert desk.available() == 9


def test_the_same_id_of_another_source_is_another_message(desk: Desk) -> None:
    desk.settle(BATCH, builders.a_message(LINE, id="m1", source="shop"))
    other = builders.a_message(commands.Allocate("o2", "LAMP", 1), id="m1", source="market")
    assert desk.settle(other) == [outcomes.Handled("b1")]


def test_a_source_without_a_name_is_called_that(desk: Desk) -> None:
    desk.settle(BATCH, builders.a_message(LINE, id="m1", source=""))
    desk.settle(builders.a_message(commands.Allocate("o2", "LAMP", 1), id="m1", source=""))
    assert "the id m1 of an unnamed source" in desk.dead_letters[0]["dead_letter_error"]


def test_a_refusal_is_final_for_its_attempt_and_a_redrive_is_a_new_one(desk: Desk) -> None:
    desk.settle(BATCH)
    conflict = commands.CreateBatch("b1", "LAMP", 11)
    assert isinstance(desk.settle(builders.a_message(conflict, id="m1"))[0], outcomes.Refused)
    assert desk.settle(builders.a_message(conflict, id="m1")) == [outcomes.Duplicate()]
    assert isinstance(desk.settle(builders.a_message(conflict, id="m1", attempt=2))[0], outcomes.Refused)
    assert desk.settle(builders.a_message(conflict, id="m1", attempt=1)) == [outcomes.Duplicate()]
    assert desk.entry("m1").attempt == 2
    assert [letter["dead_letter_attempt"] for letter in desk.dead_letters] == ["1", "2"]


def test_a_refused_command_leaves_the_others_alone(desk: Desk) -> None:
    conflict = commands.CreateBatch("b1", "LAMP", 11)
    found = desk.settle(BATCH, conflict, LINE)
    text = "batch b1 of LAMP was created with qty 10 and eta None, not with qty 11 and eta None"
    assert found == [outcomes.Handled(), outcomes.Refused("conflict", text), outcomes.Handled("b1")]
    assert desk.dead_letters[0]["dead_letter_error"] == text
    assert desk.available() == 7


def test_what_holds_no_command_is_refused_and_remembered(desk: Desk) -> None:
    message = builders.a_message(messages.Unreadable("undecodable", "no Avro"), id="m1")
    assert desk.settle(message) == [outcomes.Refused("undecodable", "no Avro")]
    assert (desk.entry("m1").outcome, desk.entry("m1").reason, desk.entry("m1").error) == (
        "refused", "undecodable", "no Avro",
    )  # fmt: skip
    assert desk.settle(message) == [outcomes.Duplicate()]


def test_a_line_of_an_unknown_sku_waits_and_is_allocated_when_the_batch_comes(desk: Desk) -> None:
    assert desk.settle(builders.a_message(LINE, id="m1")) == [WAITS_FOR_SKU]
    assert desk.entry("m1").outcome == "waiting"
    assert desk.parked == [("sku:LAMP", "waiting", LINE)]
    assert desk.database.state.parked[0].expires_at == builders.NOW + datetime.timedelta(seconds=60)
    assert desk.settle(BATCH) == [outcomes.Handled()]
    assert (desk.entry("m1").outcome, desk.entry("m1").result) == ("handled", "b1")
    assert (desk.parked, desk.sent) == ([], ["line_allocated"])


def test_it_may_wait_and_be_released_within_a_micro_batch(desk: Desk) -> None:
    assert desk.settle(builders.a_message(LINE, id="m1"), BATCH) == [WAITS_FOR_SKU, outcomes.Handled()]
    assert desk.entry("m1").outcome == "handled"
    assert (desk.parked, desk.available()) == ([], 7)


def test_a_duplicate_of_a_waiting_command_is_one(desk: Desk) -> None:
    message = builders.a_message(LINE, id="m1")
    again = builders.a_message(LINE, id="m1", attempt=2)
    desk.settle(message)
    assert desk.settle(message, again) == [outcomes.Duplicate(), outcomes.Duplicate()]
    desk.settle(BATCH)
    assert desk.settle(message) == [outcomes.Duplicate()]
    assert desk.sent == ["line_allocated"]


def test_the_id_of_a_waiting_command_cannot_be_reused(desk: Desk) -> None:
    desk.settle(builders.a_message(LINE, id="m1"))
    [outcome] = desk.settle(builders.a_message(commands.Allocate("o9", "LAMP", 1), id="m1"))
    assert isinstance(outcome, outcomes.Refused)
    assert (outcome.reason, desk.entry("m1").outcome) == ("id_reused", "waiting")


def test_a_sender_that_waives_the_grace_is_refused_at_once(desk: Desk) -> None:
    found = desk.settle(builders.a_message(LINE, waits=False), builders.a_message(CHANGE, waits=False))
    assert found == [
        outcomes.Refused("invalid_sku", "Invalid sku LAMP"),
        outcomes.Refused("unknown_batch", "Unknown batch b1"),
    ]
    assert desk.parked == []
    assert [letter["dead_letter_reason"] for letter in desk.dead_letters] == ["invalid_sku", "unknown_batch"]


def test_without_a_grace_time_nothing_waits() -> None:
    desk = Desk(grace_s=0)
    assert desk.settle(LINE) == [outcomes.Refused("invalid_sku", "Invalid sku LAMP")]


def test_one_that_waives_the_grace_queues_behind_one_that_waits(desk: Desk) -> None:
    eager = builders.a_message(commands.Allocate("o2", "LAMP", 1), waits=False, id="eager")
    assert desk.settle(LINE, eager) == [WAITS_FOR_SKU, outcomes.Queued()]
    desk.settle(BATCH)
    assert desk.entry("eager").outcome == "handled"


def test_one_that_waives_the_grace_is_refused_when_its_turn_comes(desk: Desk) -> None:
    eager = builders.a_message(commands.ChangeBatchQuantity("b9", 1, "LAMP"), waits=False, id="eager")
    assert desk.settle(LINE, eager) == [WAITS_FOR_SKU, outcomes.Queued()]
    desk.settle(BATCH)
    assert (desk.entry("eager").outcome, desk.entry("eager").reason) == ("refused", "unknown_batch")
    assert desk.parked == []


def test_what_comes_after_a_waiting_command_for_its_sku_keeps_its_place(desk: Desk) -> None:
    later = commands.Allocate("o2", "LAMP", 10)
    assert desk.settle(LINE, later) == [WAITS_FOR_SKU, outcomes.Queued()]
    assert desk.parked == [("sku:LAMP", "waiting", LINE), ("sku:LAMP", "queued", later)]
    desk.settle(BATCH)
    assert desk.sent == ["line_allocated", "out_of_stock"]


def test_other_skus_go_on(desk: Desk) -> None:
    desk.settle(commands.CreateBatch("v1", "VASE", 5), LINE)
    assert desk.settle(commands.Allocate("o1", "VASE", 1)) == [outcomes.Handled("v1")]


@pytest.mark.parametrize(("change", "queue"), [(CHANGE, "ref:b1"), (KNOWING_CHANGE, "sku:LAMP")])
def test_a_change_of_an_unknown_batch_waits_by_its_sku_or_else_its_reference(
    desk: Desk, change: commands.ChangeBatchQuantity, queue: str
) -> None:
    assert desk.settle(builders.a_message(change, id="m1")) == [WAITS_FOR_BATCH]
    assert desk.parked == [(queue, "waiting", change)]
    assert desk.settle(BATCH) == [outcomes.Handled()]
    assert (desk.parked, desk.available()) == ([], 7)
    assert desk.entry("m1").outcome == "handled"


def test_two_changes_of_an_unknown_batch_keep_their_order(desk: Desk) -> None:
    assert desk.settle(CHANGE, commands.ChangeBatchQuantity("b1", 9)) == [WAITS_FOR_BATCH, outcomes.Queued()]
    desk.settle(BATCH)
    assert desk.available() == 9


def test_a_line_queues_behind_a_change_of_a_batch_that_is_still_to_come(desk: Desk) -> None:
    desk.settle(commands.CreateBatch("b0", "LAMP", 2))
    assert desk.settle(KNOWING_CHANGE, LINE) == [WAITS_FOR_BATCH, outcomes.Queued()]
    desk.settle(BATCH)
    assert desk.available() == 4


def test_another_batch_of_the_sku_passes_and_releases_what_waited_for_the_sku_only(desk: Desk) -> None:
    desk.settle(LINE, KNOWING_CHANGE, commands.Allocate("o2", "LAMP", 1))
    assert desk.settle(commands.CreateBatch("b0", "LAMP", 5)) == [outcomes.Handled()]
    assert [command for _, _, command in desk.parked] == [KNOWING_CHANGE, commands.Allocate("o2", "LAMP", 1)]
    assert desk.available("b0") == 2
    desk.settle(BATCH)
    assert (desk.parked, desk.available("b0"), desk.available("b1")) == ([], 1, 7)


def test_what_waits_itself_once_it_is_its_turn_says_for_what_and_keeps_its_grace(desk: Desk) -> None:
    desk.settle(LINE, builders.a_message(commands.ChangeBatchQuantity("b2", 7, "LAMP"), id="m1"))
    assert (desk.entry("m1").reason, desk.database.state.parked[1].state) == ("queued", "queued")
    expires_at = desk.database.state.parked[1].expires_at
    desk.database.now += datetime.timedelta(seconds=1)
    desk.settle(BATCH)
    [parked] = desk.database.state.parked
    assert (parked.state, parked.reason, parked.error) == ("waiting", "unknown_batch", "Unknown batch b2")
    assert parked.expires_at == expires_at
    entry = desk.entry("m1")
    assert (entry.outcome, entry.reason, entry.error) == ("waiting", "unknown_batch", "Unknown batch b2")
    assert [entry[0] for entry in desk.journal[-1]] == ["handled", "released"]


def test_a_batch_of_another_sku_than_thought_releases_the_change_to_be_refused(desk: Desk) -> None:
    desk.settle(commands.CreateBatch("b0", "VASE", 5))
    desk.settle(
        builders.a_message(commands.ChangeBatchQuantity("b1", 7, "VASE"), id="m1"), commands.Allocate("o2", "VASE", 1)
    )
    desk.settle(BATCH)
    assert desk.parked == []
    assert (desk.entry("m1").reason, desk.entry("m1").error) == ("conflict", "batch b1 is of sku LAMP, not of VASE")
    assert (desk.available(), desk.available("b0", "VASE")) == (10, 4)


def test_what_was_parked_in_several_queues_is_released_in_the_order_in_which_it_came(desk: Desk) -> None:
    desk.settle(CHANGE, commands.Allocate("o1", "LAMP", 8), commands.ChangeBatchQuantity("b1", 6, "LAMP"))
    desk.settle(BATCH)
    assert desk.sent == ["out_of_stock"]
    assert desk.available() == 6


def test_a_released_command_publishes_what_it_would_have_published_at_once(desk: Desk) -> None:
    message = builders.a_message(LINE, id="m1", record=builders.a_record(b"12345", offset=3))
    desk.settle(message)
    desk.settle(BATCH)
    early = Desk()
    early.settle(BATCH)
    early.settle(message)
    assert [one for one in desk.database.state.outbox if one.topic == "line_allocated"] == [
        one for one in early.database.state.outbox if one.topic == "line_allocated"
    ]


def test_a_poisoned_command_holds_up_its_sku_and_its_batches_but_no_other(desk: Desk) -> None:
    desk.settle(BATCH)
    desk.set_aside(builders.a_message(LINE, id="m1"))
    assert desk.parked == [("sku:LAMP", "poisoned", LINE)]
    assert (desk.entry("m1").outcome, desk.entry("m1").reason, desk.entry("m1").error) == (
        "waiting", "failed", "a bug",
    )  # fmt: skip
    later: list[commands.Command] = [
        commands.Allocate("o2", "LAMP", 1),
        commands.CreateBatch("b2", "LAMP", 1),
        CHANGE,
    ]
    assert desk.settle(*later) == [outcomes.Queued()] * 3
    assert [command for _, _, command in desk.parked] == [LINE, *later]
    assert desk.settle(commands.CreateBatch("v1", "VASE", 1)) == [outcomes.Handled()]


def test_a_poisoned_command_has_no_end_of_grace(desk: Desk) -> None:
    desk.set_aside(LINE)
    parked = desk.database.state.parked[0]
    assert (parked.expires_at, parked.error_class, parked.stack) == (None, "Curse", "abc123")


def test_a_message_without_a_command_that_fails_goes_to_the_dead_letters(desk: Desk) -> None:
    desk.set_aside(builders.a_message(messages.Unreadable("undecodable", "no Avro"), id="m1"))
    assert desk.parked == []
    assert (desk.entry("m1").outcome, desk.entry("m1").reason) == ("refused", "failed")
    letter = desk.dead_letters[0]
    assert letter["dead_letter_error"] == "a bug"
    assert (letter["dead_letter_class"], letter["dead_letter_stack"]) == ("Curse", "abc123")


def test_a_duplicate_that_fails_does_not_touch_what_is_known_of_the_first(desk: Desk) -> None:
    message = builders.a_message(LINE, id="m1")
    desk.settle(BATCH, message)
    desk.set_aside(message)
    desk.set_aside(builders.a_message(commands.Allocate("o9", "LAMP", 1), id="m1"))
    assert (desk.entry("m1").outcome, desk.parked) == ("handled", [])
    assert [letter["dead_letter_reason"] for letter in desk.dead_letters] == ["id_reused"]


def at(topic: str, offset: int, command: commands.Command, **more: str) -> messages.Message:
    record = builders.a_record(b"12345%d" % offset, topic=topic, offset=offset)
    return builders.a_message(command, record=record, **more)  # type: ignore[arg-type]


def test_the_journal_says_what_became_of_which_records_in_which_order(desk: Desk) -> None:
    desk.settle(
        at("allocate", 0, LINE),
        at("allocate", 1, commands.Allocate("o2", "LAMP", 1)),
        at("create_batch", 7, BATCH),
        at("allocate", 2, commands.Allocate("o3", "LAMP", 1), id="m1"),
        at("allocate", 4, commands.Allocate("o4", "LAMP", 1)),
        at("create_batch", 8, commands.CreateBatch("b1", "VASE", 1)),
    )
    [entries] = desk.journal
    assert entries == (
        ("waited", "allocate", 0, 0, 0),
        ("queued", "allocate", 0, 1, 1),
        ("handled", "create_batch", 0, 7, 7),
        ("released", "allocate", 0, 0, 1),
        ("handled", "allocate", 0, 2, 4),
        ("refused", "create_batch", 0, 8, 8),
    )


def test_released_records_that_lie_apart_are_apart_in_the_journal(desk: Desk) -> None:
    desk.settle(at("allocate", 0, LINE), at("allocate", 5, commands.Allocate("o2", "LAMP", 1)))
    desk.settle(at("create_batch", 0, BATCH))
    assert desk.journal[1][1:] == (("released", "allocate", 0, 0, 0), ("released", "allocate", 0, 5, 5))


def test_nothing_settled_is_nothing_in_the_journal(desk: Desk) -> None:
    desk.settle()
    assert desk.journal == []


def test_the_journal_goes_out_before_what_it_tells_of(desk: Desk) -> None:
    desk.settle(BATCH, LINE)
    topics = [one.topic for one in desk.database.state.outbox]
    assert topics == ["allocation.journal", "line_allocated"]
