"""`verify` against a real database and real topics, at rest, changed by SQL, and while everything goes on."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from allocation.adapters.kafka import log_reader, producer
from allocation.service_layer import messages
from allocation.service_layer.operations.verify import sources
from tests.integration import command_line, settled

if TYPE_CHECKING:
    from allocation import config
    from allocation.service_layer.operations.verify import verification

SHRINK: settled.Given = ("ChangeBatchQuantity", {"batchref": "early", "qty": 5, "sku": "CHAIR"}, "shrink")


@pytest.fixture
def filled(initialised: config.Settings) -> config.Settings:
    """An installation at rest: every outcome there is, one line moved by a shrunken batch, one command waiting."""
    patient = initialised.model_copy(update={"grace_s": 600.0})
    with settled.running(patient):
        for seen, given in ((2, settled.STOCK), (9, settled.ORDERS), (10, [SHRINK])):
            settled.send(patient, given)
            settled.wait_until_settled(patient, seen=seen, parked=int(seen > 2))
    return patient


def verify(settings: config.Settings) -> verification.Report:
    with bootstrap.verification(settings) as verification:
        return verification.run(keep=5, on_progress=lambda _what, _done, _total: None)


def findings(settings: config.Settings) -> list[str]:
    return [f"{one.check.title}: {one.subject} {one.text}" for one in verify(settings).findings]


def test_an_installation_at_rest_agrees_and_whatever_sql_changes_in_it_is_named(filled: config.Settings) -> None:
    report = verify(filled)
    assert report.findings == []
    assert report.notes == {"commands that wait": 1}
    counts = {check.title: count for check, count in report.compared.items()}
    assert (counts["commands"], counts["dead letters"], counts["events"], counts["lines"]) == (10, 2, 5, 2)

    for statement, finding in (
        (
            "UPDATE order_lines SET batchref = 'late', place = 7 WHERE orderid = 'o1'",
            "lines: order o1, 3 of CHAIR is in batch late in the database, and in batch early by the events",
        ),
        (
            "DELETE FROM order_lines WHERE orderid = 'o2'",
            "lines: order o2, 3 of CHAIR is in batch late by the events, and in none in the database",
        ),
        (
            "UPDATE batches SET allocated = allocated - 1 WHERE reference = 'early'",
            "batches: batch early counts 2 allocated, and its lines need 3",
        ),
        (
            "UPDATE batches SET purchased = 10 WHERE reference = 'early'",
            "stock: batch early holds 10 in the database, and 5 by the last command about it",
        ),
        (
            "UPDATE products SET version_number = version_number + 1",
            "versions: CHAIR has version 8, and 7 changes by commands and events",
        ),
        (
            "DELETE FROM inbox WHERE id = 'order-4'",
            "was refused, but the inbox does not know it",
        ),
        (
            "DELETE FROM parked",
            "command order-6: was parked, but is so no more, and nothing says how that ended",
        ),
        (
            "UPDATE positions SET next_offset = next_offset + 9 WHERE topic LIKE '%create_batch'",
            "was the topic truncated?",
        ),
        (
            "DELETE FROM journal WHERE entries::text LIKE '%change_batch_quantity%'",
            "command shrink: was passed over: the journal does not name it",
        ),
    ):
        with settled.copied(filled, statement) as changed:
            found = findings(changed)
            assert any(finding in text for text in found), (statement, found)


def test_an_event_that_is_lost_in_the_outbox_or_twice_on_its_topic_is_named(initialised: config.Settings) -> None:
    settled.send(initialised, [*settled.STOCK, *settled.ORDERS[:2]])
    with settled.running(initialised):
        settled.wait_until_settled(initialised, seen=4)
    assert findings(initialised) == []
    topic = bootstrap.topic_names(initialised).line_allocated
    clients = bootstrap.kafka_clients(initialised)
    first = next(iter(log_reader.LogReader(clients).read([topic])))
    again = messages.OutboxMessage(topic, first.key, first.value, first.headers)
    with producer.Producer(clients) as kafka:
        second = kafka.send(again)
    (text,) = findings(initialised)
    assert text.startswith(f"events: {topic}/{first.partition}/{second.offset} event 1 of CHAIR is there twice: id ")


def test_unsent_events_count_and_a_deleted_one_is_a_gap(initialised: config.Settings) -> None:
    settled.send(initialised, [*settled.STOCK, *settled.ORDERS[:2]])
    with settled.running(initialised, is_relaying=False):
        settled.wait_until_settled(initialised, seen=4, is_relayed=False)
    report = verify(initialised)
    assert report.findings == []
    assert report.notes["messages in the outbox, not sent yet"] > 2
    with settled.copied(initialised, "DELETE FROM outbox WHERE headers LIKE '%order-1%'") as changed:
        assert "events: CHAIR event 1 is neither on a topic nor in the outbox" in findings(changed)


def test_a_system_that_goes_on_working_agrees_all_the_time(initialised: config.Settings) -> None:
    orders: list[settled.Given] = [
        ("Allocate", {"orderid": f"o{number}", "sku": "CHAIR", "qty": 1 + number % 3}, f"order-{number}")
        for number in range(2000)
    ]
    shrinking: list[settled.Given] = [
        ("ChangeBatchQuantity", {"batchref": "big", "qty": 1000 - number, "sku": "CHAIR"}, f"shrink-{number}")
        for number in range(200)
    ]
    # Many small transactions, so that some commit while the database is being read.
    busy = initialised.model_copy(update={"batch_size": 5})
    stock: settled.Given = ("CreateBatch", {"ref": "big", "sku": "CHAIR", "qty": 1000, "eta": None}, "stock")
    with settled.running(busy):
        settled.send(initialised, [stock, *settled.STOCK])
        settled.send(initialised, orders)
        while shrinking:
            assert findings(initialised) == []
            settled.send(initialised, shrinking[:40])
            del shrinking[:40]
        settled.wait_until_settled(initialised, seen=2203)
    assert findings(initialised) == []


def test_topics_that_the_database_does_not_know_cannot_be_compared(filled: config.Settings) -> None:
    with (
        settled.copied(filled, "UPDATE positions SET topic_id = topic_id || '-before'") as changed,
        pytest.raises(sources.CannotVerify, match="is one in another topic"),
    ):
        verify(changed)


def test_the_command_says_by_its_exit_code_whether_all_agree(filled: config.Settings) -> None:
    clean = command_line.CommandLine(filled).run("verify")
    assert (clean.returncode, clean.stderr) == (0, "")
    assert "Commands, database and topics agree" in clean.stdout

    with settled.copied(filled, "UPDATE order_lines SET batchref = 'late', place = 7 WHERE orderid = 'o1'") as changed:
        broken = command_line.CommandLine(changed).run("verify", "--max-findings", "1")
        assert broken.returncode == 1
        assert "lines: order o1, 3 of CHAIR is in batch late in the database" in broken.stdout
        answer = json.loads(command_line.CommandLine(changed).run("verify", "--json").stdout)
        assert answer["agree"] is False
        assert answer["checks"]["lines"]["findings"] == 1
        assert answer["findings"][0]["subject"] == "order o1, 3 of CHAIR"
        watched = command_line.CommandLine(changed).run("verify", "--every", "60")
        assert watched.returncode == 1
        assert "order o1, 3 of CHAIR is in batch late in the database" in watched.stdout

    at_once = {f"ALLOCATION_{name}_RETENTION_DAYS": "1e-9" for name in ("INBOX", "JOURNAL", "AUDIT")}
    with settled.copied(filled) as pruned:
        line = command_line.CommandLine(pruned)
        done = line.run("maintenance", "--once", "--json", **at_once)
        assert {one["table"]: one["rows"] for one in map(json.loads, done.stdout.splitlines())}["inbox"] == 7
        assert "Commands, database and topics agree" in line.run("verify").stdout

    nowhere = filled.model_copy(update={"database_url": "postgresql+psycopg2://allocation@127.0.0.1:1/allocation"})
    unknown = command_line.CommandLine(nowhere).run("verify")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("allocation: the database does not answer")


def test_a_comparison_again_and_again_ends_by_a_signal_alone_while_all_agree(filled: config.Settings) -> None:
    with command_line.CommandLine(filled).started("verify", "--every", "1", "--json") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        for _ in range(2):
            assert json.loads(watching.stdout.readline())["agree"] is True
        watching.send_signal(signal.SIGINT)
        assert watching.wait(command_line.DEADLINE_S) == 130
        assert "Traceback" not in watching.stderr.read()
