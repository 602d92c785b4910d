"""A verification as a whole, its journal and positions, and its report."""

from __future__ import annotations

from datetime import timedelta

import pytest

from allocation.domain import commands
from allocation.service_layer import messages
from allocation.service_layer.operations.verify import findings, snapshot, sources
from tests.unit.verify import world as builders


def test_a_true_history_agrees(world: builders.World) -> None:
    world.refused(world.sent_fields("Allocate", {"orderid": "o9", "sku": "CHAIR", "qty": -3}))
    report = world.verify()
    assert report.findings == []
    assert report.total == 0
    assert report.compared == {
        findings.Check.ENDS: 8,
        findings.Check.POSITIONS: 3,
        findings.Check.JOURNAL: 7,
        findings.Check.COMMANDS: 7,
        findings.Check.DEAD_LETTERS: 1,
        findings.Check.EVENTS: 5,
        findings.Check.CAUSES: 5,
        findings.Check.LINES: 2,
        findings.Check.BATCHES: 2,
        findings.Check.STOCK: 2,
        findings.Check.VERSIONS: 1,
    }


def test_an_installation_that_has_done_nothing_agrees() -> None:
    assert builders.World().findings() == []


def test_a_record_that_the_journal_names_twice_is_found(world: builders.World) -> None:
    message = world.allocated("o5", "CHAIR", 1, "late")
    world.journaled("handled", message)
    assert world.findings() == [
        "journal: allocate/0 offsets 3 to 3 are both handled in row 7 of the journal and handled in row 8"
    ]


def test_a_journal_that_is_not_on_its_topic_is_found(world: builders.World) -> None:
    log = world.topics["allocation.journal"]
    del log[3]
    log[2] = log[2]._replace(value=log[0].value)
    log.append(log[0]._replace(offset=9, value=b"{}"))
    assert world.findings() == [
        "journal: allocation.journal/0/2 row 1 of the journal is there twice: also at allocation.journal/0/0",
        "journal: allocation.journal/0/9 is no row of a journal",
        "journal: row 3 is neither on the journal's topic nor in the outbox",
        "journal: row 4 is neither on the journal's topic nor in the outbox",
    ]


def test_a_position_behind_the_end_of_its_log_is_found(world: builders.World) -> None:
    log = messages.LogPartition("id-of-allocate", 0)
    world.positions[log] = ("allocate", 9)
    assert world.findings() == [
        "positions: allocate/0 is handled up to offset 9, but ends at 3: was the topic truncated?"
    ]


def test_what_a_transaction_hides_that_does_not_end_is_found(world: builders.World) -> None:
    world.hidden["line_allocated"] = 3
    [finding] = world.verify().findings
    assert (finding.check, finding.subject) == (findings.Check.ENDS, "line_allocated/0")
    assert finding.text.startswith("its last 3 offsets, from ")


def test_a_topic_that_was_made_anew_cannot_be_compared(world: builders.World) -> None:
    world.positions[messages.LogPartition("another", 0)] = world.positions.pop(
        messages.LogPartition("id-of-allocate", 0)
    )
    with pytest.raises(sources.CannotVerify, match=r"^the position of allocate/0 is one in another topic"):
        world.verify()


def test_a_topic_that_has_lost_records_cannot_be_compared(world: builders.World) -> None:
    world.begins["line_allocated"] = 2
    with pytest.raises(sources.CannotVerify, match=r"^line_allocated/0 begins at offset 2"):
        world.verify()


def test_all_findings_are_counted_and_the_first_of_each_kind_kept(world: builders.World) -> None:
    for number in range(5):
        world.parked[snapshot.Coordinates("allocate", 0, 70 + number)] = "waiting"
    world.products["CHAIR"] = world.products["CHAIR"]._replace(version_number=8)
    report = world.verify(keep=2)
    assert report.total == 6
    assert [one.check for one in report.findings] == [
        findings.Check.COMMANDS,
        findings.Check.COMMANDS,
        findings.Check.VERSIONS,
    ]


def test_what_kafka_refused_is_told(world: builders.World) -> None:
    world.relays = False
    world.allocated("o5", "CHAIR", 1, "late")
    world.outbox = [row._replace(is_quarantined=row.topic == "line_allocated") for row in world.outbox]
    assert world.verify().notes == {
        "messages in the outbox, not sent yet": 2,
        "messages in the outbox that Kafka refused, and those of their skus behind them": 1,
    }


def test_a_journal_in_the_outbox_is_compared_as_well(world: builders.World) -> None:
    world.relays = False
    world.created("third", "CHAIR", 1)
    assert world.findings() == []
    world.outbox[0] = world.outbox[0]._replace(value=b"[]")
    assert world.findings() == [
        "journal: outbox row 1 is no row of a journal",
        "journal: row 7 is neither on the journal's topic nor in the outbox",
    ]


def test_a_journal_that_says_something_else_on_its_topic_is_found(world: builders.World) -> None:
    log = world.topics["allocation.journal"]
    log[2] = log[2]._replace(value=b'{"number": 3, "handled_at": "2030-01-01T00:00:00+00:00", "entries": []}')
    assert world.findings() == ["journal: allocation.journal/0/2 differs from row 3 of the journal in the database"]


def test_what_was_pruned_is_read_from_the_topics_and_not_missed(world: builders.World) -> None:
    duplicate = world.sent(commands.CreateBatch("early", "CHAIR", 10), id="c1")
    world.journaled("duplicate", duplicate)
    world.pruned = dict.fromkeys(("inbox", "journal"), builders.TIME + timedelta(days=1))
    world.inbox.clear()
    del world.journal[:-1]
    assert world.findings() == []

    world.pruned = {}
    assert len(world.findings()) > len(world.topics["create_batch"])


def test_what_is_not_old_enough_to_be_pruned_is_missed(world: builders.World) -> None:
    world.pruned = dict.fromkeys(("inbox", "journal"), builders.TIME)
    message = world.created("fourth", "CHAIR", 1)
    del world.inbox[message.id]
    del world.journal[0]
    said = " ".join(world.findings())
    assert "row 1 is at allocation.journal/0/0, but not in the database: was it restored from a back-up?" in said
    assert "command c1: was passed over: the journal does not name it" in said
    assert f"command {message.id.id}: was handled, but the inbox does not know it" in said


def test_progress_is_told_by_what_is_read() -> None:
    world = builders.World()
    for number in range(1000):
        world.journaled("handled", world.sent(commands.CreateBatch(f"b{number}", "CHAIR", 1)))
    told: list[tuple[str, int, int]] = []
    world.verify(on_progress=lambda *step: told.append(step))
    assert told == [
        ("database", 0, 1),
        ("database", 1, 1),
        ("events", 0, 0),
        ("dead letters", 0, 0),
        ("journal", 1000, 1000),
        ("journal", 1000, 1000),
        ("commands", 1000, 1000),
        ("commands", 1000, 1000),
    ]
