"""Commands: something else became of one than is told, and it is named."""

from __future__ import annotations

from allocation.domain import commands
from allocation.service_layer import external_events, messages
from allocation.service_layer.operations.verify import snapshot
from tests.unit.verify import world as builders


def test_a_command_that_was_passed_over_is_named(world: builders.World) -> None:
    world.sent(commands.Allocate("o5", "CHAIR", 1), id="lost")
    world.allocated("o6", "CHAIR", 1, "late")
    assert world.findings() == ["commands: allocate/0/3 command lost: was passed over: the journal does not name it"]


def test_a_handled_command_that_the_inbox_does_not_know_is_named(world: builders.World) -> None:
    message = world.allocated("o5", "CHAIR", 1, "late")
    del world.inbox[message.id]
    assert "commands: allocate/0/3 command c7: was handled, but the inbox does not know it" in world.findings()


def test_an_outcome_without_a_command_is_named(world: builders.World) -> None:
    world.inbox[messages.MessageId("tests", "ghost")] = snapshot.Outcome(
        1, b"", "handled", None, None, snapshot.Coordinates("allocate", 0, 77)
    )
    assert world.findings() == [
        "commands: allocate/0/77 command ghost is handled in the inbox, but no such command is there"
    ]


def test_a_command_that_is_both_handled_and_dead_is_named(world: builders.World) -> None:
    message = world.allocated("o5", "CHAIR", 1, "late", id="both")
    world.send(builders.ENVELOPES.dead_letter(message, reason="conflict", error=""))
    assert world.findings() == [
        (
            "commands: allocate/0/3 command both: it was handled, and is a dead letter as well, at "
            "allocation.dead_letter/0/0"
        )
    ]


def test_a_refused_command_without_a_dead_letter_is_named(world: builders.World) -> None:
    world.refused(world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0}, id="gone"))
    world.topics["allocation.dead_letter"].clear()
    assert world.findings() == ["commands: allocate/0/3 command gone: was refused, but is no dead letter"]


def test_a_dead_letter_that_is_there_twice_is_named(world: builders.World) -> None:
    world.refused(world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0}))
    twice = world.topics["allocation.dead_letter"][0]
    world.append(messages.OutboxMessage(twice.topic, twice.key, twice.value, twice.headers))
    assert world.findings() == [
        (
            "dead letters: allocate/0/3 is a dead letter twice: at allocation.dead_letter/0/0 and at "
            "allocation.dead_letter/0/1"
        )
    ]


def test_a_dead_letter_that_is_not_as_it_came_is_named(world: builders.World) -> None:
    message = world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0})
    world.refused(message)
    log = world.topics["allocation.dead_letter"]
    log[0] = log[0]._replace(value=b"else", headers=log[0].headers[1:])
    assert world.findings() == [
        "dead letters: allocation.dead_letter/0/0 is of allocate/0/3: its key or value is not that of the command",
        "dead letters: allocation.dead_letter/0/0 is of allocate/0/3: its headers are not those of the command",
    ]


def test_a_dead_letter_of_nothing_is_named(world: builders.World) -> None:
    stranger = builders.World().sent(commands.Allocate("o5", "CHAIR", 1))
    below = stranger.record._replace(topic="create_batch", offset=1)
    for record in (below, stranger.record._replace(offset=77)):
        stranger.record = record
        world.send(builders.ENVELOPES.dead_letter(stranger, reason="conflict", error=""))
    world.append(messages.OutboxMessage("allocation.dead_letter", b"", b"", ()))
    assert world.findings() == [
        "dead letters: allocation.dead_letter/0/2 does not say which message it is of, and why",
        (
            "commands: create_batch/0/1 command c2: it was handled, and is a dead letter as well, at "
            "allocation.dead_letter/0/0"
        ),
        "dead letters: allocation.dead_letter/0/1 is of allocate/0/77, which has not been handled",
    ]


def test_a_dead_letter_of_what_came_from_redis_is_none_of_this(world: builders.World) -> None:
    message = builders.World().sent(commands.Allocate("o5", "CHAIR", 1))
    message.record = message.record._replace(topic="redis:allocate", partition=-1, offset=-1)
    world.send(builders.ENVELOPES.dead_letter(message, reason="invalid", error=""))
    report = world.verify()
    assert report.findings == []
    assert report.notes == {"dead letters of messages that did not come from these topics, left out": 1}


def test_duplicates_are_accounted_for_by_the_first_of_their_id(world: builders.World) -> None:
    command = commands.Allocate("o5", "CHAIR", 1)
    world.allocated("o5", "CHAIR", 1, "late", id="first")
    world.journaled("duplicate", world.sent(command, id="first"))
    assert world.findings() == []
    world.journaled("duplicate", world.sent(command, id="alone"))
    world.journaled("duplicate", world.sent(commands.Allocate("o5", "CHAIR", 2), id="first"))
    assert world.findings() == [
        "commands: allocate/0/5 command alone: is called a duplicate, but no other command has its id",
        "commands: allocate/0/6 command first: is called a duplicate, but says something else than allocate/0/3",
    ]


def test_an_id_that_was_used_again_is_refused_and_leaves_the_first_one_its_entry(world: builders.World) -> None:
    world.allocated("o5", "CHAIR", 1, "late", id="first")
    world.refused(world.sent(commands.Allocate("o6", "CHAIR", 1), id="first"), "id_reused")
    assert world.findings() == []


def test_a_second_attempt_takes_the_place_of_the_first_in_the_inbox(world: builders.World) -> None:
    world.refused(world.sent(commands.Allocate("o5", "LAMP", 1), id="again"), "invalid_sku")
    world.created("lamps", "LAMP", 4)
    world.allocated("o5", "LAMP", 1, "lamps", id="again", attempt=2)
    assert world.findings() == []


def test_two_commands_that_were_handled_under_one_id_are_named(world: builders.World) -> None:
    world.allocated("o5", "CHAIR", 1, "late", id="same")
    world.handled(world.sent(commands.Allocate("o5", "CHAIR", 1), id="same"), result="late")
    assert world.findings() == [
        "commands: allocate/0/3 command same: was handled, and so was allocate/0/4, which has the same id"
    ]


def test_an_inbox_that_says_otherwise_is_named(world: builders.World) -> None:
    message = world.allocated("o5", "CHAIR", 1, "late", id="odd")
    world.inbox[message.id] = world.inbox[message.id]._replace(outcome="refused")
    assert world.findings() == ["commands: allocate/0/3 command odd: was handled, but the inbox says refused"]
    world.inbox[message.id] = world.inbox[message.id]._replace(outcome="handled", digest=b"x")
    assert world.findings() == [
        "commands: allocate/0/3 command odd: was handled, but the inbox has another content for its id, at allocate/0/3"
    ]


def test_commands_that_wait_are_accounted_for_while_they_do_and_after(world: builders.World) -> None:
    released, expired = (world.sent(commands.Allocate(orderid, "LAMP", 1)) for orderid in ("o5", "o6"))
    world.waited(released)
    world.waited(expired, "queued")
    assert world.findings() == []
    world.created("lamps", "LAMP", 1)
    world.handled(released, what="released", result="lamps")
    line = snapshot.Line("o5", "LAMP", 1)
    world.lines[line] = snapshot.Placed("lamps", 0)
    world.batches["lamps"] = world.batches["lamps"]._replace(allocated=1, line_count=1)
    world.products["LAMP"] = world.products["LAMP"]._replace(version_number=2)
    world.announced(external_events.LineAllocated(*line, "lamps"), released)
    world.refused(expired, "invalid_sku", what="expired")
    assert world.findings() == []


def test_a_waiting_command_that_has_vanished_is_named(world: builders.World) -> None:
    message = world.sent(commands.Allocate("o5", "LAMP", 1), id="gone")
    world.waited(message)
    world.parked.clear()
    assert world.findings() == [
        "commands: allocate/0/3 command gone: was parked, but is so no more, and nothing says how that ended"
    ]


def test_a_command_that_waits_and_has_an_end_is_named(world: builders.World) -> None:
    message = world.sent(commands.Allocate("o5", "LAMP", 1), id="undead")
    world.waited(message)
    world.relays = False
    world.refused(message, "invalid_sku", what="expired")
    world.parked[builders.coordinates(message)] = "waiting"
    assert world.findings() == [
        "commands: allocate/0/3 command undead: is parked, though the journal says that its waiting has ended",
        "commands: allocate/0/3 command undead: is parked, and is a dead letter as well",
        "commands: allocate/0/3 command undead: is parked, and refused in the inbox",
    ]


def test_something_parked_that_is_no_command_is_named(world: builders.World) -> None:
    world.parked[snapshot.Coordinates("allocate", 0, 77)] = "waiting"
    assert world.findings() == ["commands: allocate/0/77 is parked, but no command is there"]


def test_a_handled_command_that_cannot_be_handled_is_named(world: builders.World) -> None:
    world.handled(world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": -1}, id="odd"))
    (text,) = world.findings()
    assert text.startswith("commands: allocate/0/3 command odd: was handled, though it cannot be: qty is -1; ")


def test_a_dead_letter_of_another_attempt_is_named(world: builders.World) -> None:
    message = world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0})
    world.refused(message)
    log = world.topics["allocation.dead_letter"]
    log[0] = log[0]._replace(headers=(*log[0].headers[:-1], ("dead_letter_attempt", b"2")))
    assert world.findings() == [
        "dead letters: allocation.dead_letter/0/0 is of allocate/0/3: it says attempt 2, the command is attempt 1"
    ]


def test_dead_letters_in_the_outbox_are_compared_as_well(world: builders.World) -> None:
    world.relays = False
    message = world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0})
    world.refused(message)
    assert world.findings() == []
    world.send(builders.ENVELOPES.dead_letter(message, reason="invalid", error=""))
    world.send(messages.OutboxMessage("allocation.dead_letter", b"", b"", ()))
    assert world.findings() == [
        "dead letters: allocate/0/3 is a dead letter twice: outbox row 2 and outbox row 3",
        "dead letters: outbox row 4 does not say which message it is of, and why",
    ]


def test_a_dead_letter_that_is_newer_than_the_snapshot_is_left_out(world: builders.World) -> None:
    world.freeze()
    world.refused(world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0}))
    assert world.findings() == []


def test_a_command_that_the_journal_does_not_name_although_it_names_the_next_one_is_found() -> None:
    world = builders.World()
    lost = world.sent(commands.CreateBatch("b1", "CHAIR", 1), id="lost")
    world.created("b2", "CHAIR", 1)
    world.send(builders.ENVELOPES.dead_letter(lost, reason="conflict", error=""))
    assert world.findings() == [
        "commands: create_batch/0/0 command lost: was passed over: the journal does not name it",
        "commands: create_batch/0/0 command lost: it is a dead letter, at allocation.dead_letter/0/0",
    ]


def test_a_dead_letter_of_an_offset_that_holds_no_command_is_named(world: builders.World) -> None:
    gone = world.sent(commands.CreateBatch("third", "CHAIR", 1))
    world.created("fourth", "CHAIR", 1)
    world.topics["create_batch"].remove(gone.record)
    world.send(builders.ENVELOPES.dead_letter(gone, reason="conflict", error=""))
    assert world.findings() == ["dead letters: allocation.dead_letter/0/0 is of create_batch/0/2, where no command is"]


def test_a_waiting_command_that_an_operator_discarded_is_a_dead_letter(world: builders.World) -> None:
    message = world.sent(commands.Allocate("o5", "LAMP", 1))
    world.waited(message, "poisoned")
    world.refused(message, "discarded", what="discarded")
    assert world.findings() == []
    world.topics["allocation.dead_letter"].clear()
    assert world.findings() == ["commands: allocate/0/3 command c7: was refused, but is no dead letter"]


def test_a_released_command_that_was_refused_then_must_be_a_dead_letter(world: builders.World) -> None:
    message = world.sent(commands.ChangeBatchQuantity("early", 3, "LAMP"), id="wrong")
    world.waited(message, "queued")
    world.refused(message, "conflict", what="released")
    assert world.findings() == []
    world.topics["allocation.dead_letter"].clear()
    assert world.findings() == ["commands: change_batch_quantity/0/1 command wrong: was refused, but is no dead letter"]
