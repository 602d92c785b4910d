"""Dead letters on a real broker and database, with worker and relay at work, from the command line."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation import bootstrap
from allocation.adapters.kafka import producer, topics
from allocation.adapters.postgres import tables
from allocation.service_layer import messages
from allocation.service_layer.operations import audit, dead_letter_desk, dead_letters
from tests import waiting
from tests.integration import operator_commands, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config

STOCK: settled.Given = ("CreateBatch", {"ref": "b1", "sku": "LAMP", "qty": 10, "eta": None}, "stock")
NOTE = audit.Note("jane", "its batch is there now")


@pytest.fixture
def strict(initialised: config.Settings) -> config.Settings:
    """An installation that refuses at once what is ahead of its batch, and never stops for that."""
    return initialised.model_copy(update={"grace_s": 0.0, "refusal_limit": 1.0})


def an_order(orderid: str) -> settled.Given:
    return ("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1}, orderid)


def send_without_headers(settings: config.Settings, orderid: str) -> None:
    with bootstrap.database(settings) as engine, bootstrap.serde(settings, engine) as serde:
        value = serde.serialize("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1})
    put(settings, bootstrap.topic_names(settings).allocate, value, ())


def put(settings: config.Settings, topic: str, value: bytes, headers: messages.Headers) -> None:
    with producer.Producer(bootstrap.kafka_clients(settings)) as kafka:
        kafka.send(messages.OutboxMessage(topic, b"LAMP", value, headers))


def redrive(settings: config.Settings, wanted: dead_letters.Filter | None = None) -> list[dead_letter_desk.Result]:
    with bootstrap.dead_letters(settings) as desk:
        return list(desk.redrive(desk.find(wanted or dead_letters.Filter()), NOTE))


def done(results: list[dead_letter_desk.Result]) -> int:
    return sum(isinstance(result, dead_letter_desk.Done) for result in results)


def settle(settings: config.Settings) -> None:
    """Wait until the outbox is sent, and all that is on the command topics is handled."""
    admin = topics.TopicAdmin(bootstrap.kafka_clients(settings))
    logs = admin.partitions(bootstrap.topic_names(settings).commands.values())
    counts = sqlalchemy.text("SELECT (SELECT count(*) FROM outbox), (SELECT sum(next_offset) FROM positions)")

    def is_settled() -> bool:
        with connected(settings) as connection:
            unsent, handled = connection.execute(counts).one()
        # What the relay has sent lies below these, also while the markers of its transaction are on their way.
        return not unsent and handled == sum(admin.high_watermarks(logs).values())

    waiting.wait_until(is_settled, deadline_s=settled.DEADLINE_S)


@contextlib.contextmanager
def connected(settings: config.Settings) -> Iterator[sqlalchemy.Connection]:
    with bootstrap.database(settings) as engine, engine.begin() as connection:
        yield connection


def attempts(settings: config.Settings) -> dict[str, tuple[int, str]]:
    """Of each order's command the last attempt and its outcome; those without an id are called so."""
    with connected(settings) as connection:
        rows = connection.execute(tables.inbox.select().where(tables.inbox.c.topic.like("%.allocate")))
        return {("no id" if row.source == "kafka" else row.id): (row.attempt, row.outcome) for row in rows}


def lines(settings: config.Settings) -> int:
    with connected(settings) as connection:
        return len(connection.execute(tables.order_lines.select()).all())


def disagreements(settings: config.Settings) -> list[str]:
    with bootstrap.verification(settings) as verification:
        report = verification.run(keep=5, on_progress=lambda _what, _done, _total: None)
    return [f"{one.check.title}: {one.subject} {one.text}" for one in report.findings]


def test_a_redriven_command_is_a_new_attempt_and_twice_redriven_it_is_handled_once(strict: config.Settings) -> None:
    with settled.running(strict):
        settled.send(strict, [an_order("o1")])
        send_without_headers(strict, "o2")
        settle(strict)
        assert attempts(strict) == {"o1": (1, "refused"), "no id": (1, "refused")}

        # Too early: refused again, as another dead letter; the first one is decided on for good.
        assert done(redrive(strict)) == 2
        settle(strict)
        assert attempts(strict) == {"o1": (2, "refused"), "no id": (2, "refused")}

        settled.send(strict, [STOCK])
        settle(strict)
        results = redrive(strict)
        assert (len(results), done(results)) == (4, 2)
        settle(strict)
        assert attempts(strict) == {"o1": (3, "handled"), "no id": (3, "handled")}
        assert lines(strict) == 2

        again = redrive(strict)
        assert (len(again), done(again)) == (4, 0)
        assert all(isinstance(one, dead_letter_desk.Already) and one.decision for one in again)

        # As after a restore of an older database: sent again with the same number, and known.
        with connected(strict) as connection:
            connection.execute(tables.dead_letter_decisions.delete())
        assert done(redrive(strict)) == 4
        settle(strict)
        assert (attempts(strict), lines(strict)) == ({"o1": (3, "handled"), "no id": (3, "handled")}, 2)
        assert disagreements(strict) == []
    with connected(strict) as connection:
        audited = [row.what for row in connection.execute(tables.audit.select())]
    assert audited == ["dlq.redriven"] * 8


def test_two_operators_redrive_a_dead_letter_once(strict: config.Settings) -> None:
    with settled.running(strict):
        settled.send(strict, [an_order(f"o{number}") for number in range(5)])
        settle(strict)
    with bootstrap.dead_letters(strict) as jane, bootstrap.dead_letters(strict) as joe:
        found = list(jane.find(dead_letters.Filter()))
        assert sum(isinstance(one, dead_letter_desk.Done) for one in jane.redrive(found[:3], NOTE)) == 3
        late = list(joe.redrive(reversed(found), NOTE))
    assert done(late) == 2
    with connected(strict) as connection:
        (rows,) = connection.execute(sqlalchemy.text("SELECT count(*) FROM outbox WHERE topic LIKE '%.allocate'")).one()
    assert rows == 5


def test_dead_letters_are_listed_shown_discarded_and_redriven_from_the_command_line(strict: config.Settings) -> None:
    names = bootstrap.topic_names(strict)
    nothing: settled.Given = ("Allocate", {"orderid": "o3", "sku": "LAMP", "qty": 0}, "o3")
    with settled.running(strict):
        settled.send(strict, [an_order("o1"), an_order("o2"), nothing])
        settle(strict)
    coordinates = (("dead_letter_partition", b"-1"), ("dead_letter_offset", b"-1"))
    from_redis = (("dead_letter_topic", f"redis:{names.allocate}".encode()), ("dead_letter_reason", b"undecodable"))
    put(strict, names.dead_letter, b"{", (*from_redis, *coordinates))
    cli = operator_commands.Commands(strict)

    listed = cli.lines("dlq", "list", "--json")
    assert {(line["reason"], line["state"]) for line in listed} == {
        ("invalid_sku", "open"), ("invalid", "open"), ("undecodable", "open"),
    }  # fmt: skip
    refused = cli.lines("dlq", "list", "--json", "--reason", "invalid_sku", "--topic", "allocate", "--sku", "LAMP")
    assert [line["class"] for line in refused] == ["InvalidSku", "InvalidSku"]
    place = refused[0]["place"]

    (shown,) = cli.lines("dlq", "show", place, "--json")
    assert shown["value"] == {"orderid": "o1", "sku": "LAMP", "qty": 1}
    assert shown["headers"]["ce_id"] == "o1"
    assert "Invalid sku LAMP" in cli.run("dlq", "show", place).stdout
    assert cli.run("dlq", "show", "0:999").returncode == 1

    tried = cli.run("dlq", "redrive", place, "--why", "a trial", "--dry-run")
    assert (tried.returncode, "would be redriven" in tried.stdout) == (0, True)
    tried = cli.run("dlq", "discard", place, "--why", "a trial", "--dry-run")
    assert (tried.returncode, "would be discarded" in tried.stdout) == (0, True)
    assert {line["state"] for line in cli.lines("dlq", "list", "--json")} == {"open"}
    assert cli.lines("audit", "--json") == []
    gone = cli.run("dlq", "discard", place, "--why", "a test", "--who", "joe")
    assert (gone.returncode, gone.stdout) == (0, f"{place} of {refused[0]['from']} discarded\n")
    (audited,) = cli.lines("audit", "--json")
    assert (audited["who"], audited["what"], audited["why"]) == ("joe", "dlq.discarded", "a test")
    table = cli.run("dlq", "list", "--key", "LAMP", "--limit", "3")
    assert (table.stdout.count("invalid_sku"), "discarded" in table.stdout) == (2, True)
    assert "there are more" in table.stderr

    rest = cli.run("dlq", "redrive", "--all", "--why", "once more")
    assert rest.returncode == 1
    assert "came from the Redis channel" in rest.stdout
    assert "2 redriven" in rest.stderr
    # One that was discarded by mistake may still be redriven, if it is named; after that nothing more.
    assert cli.run("dlq", "redrive", place, "--why", "needed after all").returncode == 0
    late = cli.run("dlq", "discard", place, "--why", "no")
    assert late.returncode == 0
    assert "left as it is: redriven" in late.stdout
    assert "needed after all" in late.stdout
    assert cli.run("dlq", "redrive", "--reason", "invalid_sku", "--why", "again").returncode == 1
    assert cli.run("dlq", "discard", "--all").returncode == 2  # no reason is given


def test_parked_and_refused_messages_are_let_go_from_the_command_line(initialised: config.Settings) -> None:
    patient = initialised.model_copy(update={"grace_s": 600.0})
    with settled.running(patient):
        settled.send(patient, [an_order("o1"), an_order("o2"), an_order("o3")])
        settled.wait_until_settled(patient, seen=3, parked=3)
    with connected(patient) as connection:
        connection.execute(sqlalchemy.text("UPDATE parked SET state = 'poisoned' WHERE message_id = 'o1'"))
    cli = operator_commands.Commands(patient)
    first, second, third = cli.lines("parked", "list", "--json")
    assert (first["queue"], first["state"], second["state"]) == ("sku:LAMP", "poisoned", "queued")
    assert "poisoned" in cli.run("parked", "list", "--state", "poisoned").stdout
    assert "Allocate(orderid='o1'" in cli.run("parked", "show", str(first["id"])).stdout

    assert "o2" in cli.run("parked", "discard", str(second["id"]), "--why", "no", "--dry-run", "--json").stdout
    gone = cli.run("parked", "discard", str(second["id"]), "--why", "a test")
    assert (gone.returncode, gone.stdout) == (0, "sku:LAMP: 1 discarded\n")
    with settled.running(patient):
        settled.send(patient, [STOCK])  # keeps its place behind the poisoned one
        settled.wait_until_settled(patient, seen=4, parked=3)
        let_go = cli.run("parked", "release", "--state", "poisoned", "--why", "mended")
        assert let_go.returncode == 0
        assert re.search("^sku:LAMP: [123] handled$", let_go.stdout, re.MULTILINE)  # the worker may do the rest
        settled.wait_until_settled(patient, seen=4)
        assert (lines(patient), disagreements(patient)) == (2, [])
    assert cli.run("parked", "release", str(third["id"]), "--why", "x").returncode == 1

    row = {"shard": 0, "topic": "t", "key": b"LAMP", "sku": "LAMP", "headers": "[]", "quarantined": "too large"}
    with connected(patient) as connection:
        id_ = connection.execute(tables.outbox.insert().values(row).returning(tables.outbox.c.id)).scalar_one()
    assert "too large" in cli.run("outbox", "list").stdout
    assert cli.lines("outbox", "list", "--json")[0]["id"] == id_
    release = ("outbox", "release", str(id_), "--why", "the limit is raised")
    assert cli.lines(*release, "--dry-run", "--json") == [{"rows": 1, "dry_run": True}]
    assert cli.run(*release, "9999").returncode == 1  # all or none
    assert cli.run(*release).stdout.startswith("1 row goes")
    again = cli.run(*release)
    assert (again.returncode, "not held back" in again.stderr) == (1, True)
    audited = cli.lines("audit", "--json")
    assert list(dict.fromkeys(line["what"] for line in audited)) == [
        "parked.discarded", "parked.released", "outbox.released",
    ]  # fmt: skip
    assert [line["why"] for line in cli.lines("audit", "--json", "--since", audited[-1]["at"])] == [
        "the limit is raised"
    ]
    assert "the limit is raised" in cli.run("audit").stdout
