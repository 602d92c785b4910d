"""Replaying on a real broker and database, from the command line, and with Kafka's own tool."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
import sqlalchemy
from confluent_kafka import admin
from structlog import testing

from allocation import bootstrap, devstack
from allocation.adapters.kafka import group_offsets
from allocation.service_layer import messages
from allocation.service_layer.operations.replay import ports
from tests import kafka_logs, waiting
from tests.integration import operator_commands, settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping
    from pathlib import Path

    from allocation import config

PARTITIONS = 2
LAMPS: settled.Given = ("CreateBatch", {"ref": "b1", "sku": "LAMP", "qty": 2, "eta": None}, "b1")
MORE_LAMPS: settled.Given = ("CreateBatch", {"ref": "b2", "sku": "LAMP", "qty": 1, "eta": None}, "b2")
WHY = ("--why", "a test")


@pytest.fixture
def installation(settings: config.Settings) -> config.Settings:
    few = settings.model_copy(update={"partitions": PARTITIONS})
    bootstrap.initialise(few, on_progress=lambda _text: None)
    return few


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What worker and relay log; it would stand among what the commands print."""
    with testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def cli(installation: config.Settings, logged: list[MutableMapping[str, Any]]) -> operator_commands.Commands:
    del logged
    return operator_commands.Commands(installation)


def orders(*numbers: int) -> list[settled.Given]:
    return [("Allocate", {"orderid": f"o{number}", "sku": "LAMP", "qty": 1}, f"o{number}") for number in numbers]


def rows(settings: config.Settings, query: str) -> list[tuple[Any, ...]]:
    with bootstrap.database(settings) as engine, engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]


def allocated(settings: config.Settings) -> list[str]:
    return [orderid for (orderid,) in rows(settings, "SELECT orderid FROM order_lines ORDER BY orderid")]


def positions(settings: config.Settings) -> dict[tuple[str, int], int]:
    found = rows(settings, "SELECT topic, partition, next_offset FROM positions WHERE next_offset > 0")
    return {(topic, partition): next_offset for topic, partition, next_offset in found}


def committed(settings: config.Settings) -> Mapping[tuple[str, int], int]:
    clients = bootstrap.kafka_clients(settings)
    all_of_them = [
        ports.TopicPartition(settings.topic_prefix + topic, number)
        for topic in ("create_batch", "change_batch_quantity", "allocate")
        for number in range(settings.partitions)
    ]
    offsets = group_offsets.GroupOffsets(clients, group=settings.consumer_group).committed(all_of_them)
    return {(at.topic, at.partition): offset for at, offset in offsets.items() if offset > 0}


def audited(settings: config.Settings) -> list[str]:
    return [what for (what,) in rows(settings, "SELECT what FROM audit ORDER BY id")]


def handled(settings: config.Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Return every trace that handling a command leaves, in the order of leaving it."""
    orders = {"inbox": "handled_at, id", "journal": "number", "outbox": "id"}
    return {table: rows(settings, f"SELECT * FROM {table} ORDER BY {order}") for table, order in orders.items()}


def disagreements(settings: config.Settings) -> list[str]:
    with bootstrap.verification(settings) as verification:
        report = verification.run(keep=5, on_progress=lambda _what, _done, _total: None)
    return [f"{one.check.title}: {one.subject} {one.text}" for one in report.findings]


def wait_until_outbox_is_empty(settings: config.Settings) -> None:
    waiting.wait_until(lambda: rows(settings, "SELECT count(*) FROM outbox") == [(0,)], deadline_s=settled.DEADLINE_S)


def wait_until_reread(settings: config.Settings) -> None:
    """Wait until the group, which was moved, has caught up with the positions."""
    waiting.wait_until(lambda: committed(settings) == positions(settings), deadline_s=settled.DEADLINE_S)


def reset_offsets_by_kafkas_tool(settings: config.Settings, *where: str) -> None:
    names = bootstrap.topic_names(settings).commands.values()
    topics = [argument for name in names for argument in ("--topic", name)]
    server = ("--bootstrap-server", settings.kafka_bootstrap_servers)
    arguments = ("--group", settings.consumer_group, "--reset-offsets", "--execute", *where, *topics)
    done = devstack.kafka_tool("kafka-consumer-groups", *server, *arguments)
    assert done.returncode == 0, done.stderr


def commit_as_any_client(settings: config.Settings, offsets: Mapping[tuple[str, int], int]) -> None:
    """Commit offsets of the group as a consumer that is no worker of ours does."""
    servers = settings.kafka_bootstrap_servers
    client = confluent_kafka.Consumer({"bootstrap.servers": servers, "group.id": settings.consumer_group})
    with contextlib.closing(client):
        wanted = [confluent_kafka.TopicPartition(*at, offset) for at, offset in offsets.items()]
        client.commit(offsets=wanted, asynchronous=False)


def test_moving_offsets_by_any_tool_repeats_nothing_and_a_restored_database_handles_what_it_lacks(
    installation: config.Settings,
    cli: operator_commands.Commands,
    logged: list[MutableMapping[str, Any]],
    programs: Path,
) -> None:
    del programs  # Kafka's tool is among them
    with settled.running(installation, is_relaying=False):
        settled.send(installation, [LAMPS, *orders(1)])
        settled.wait_until_settled(installation, seen=2, is_relayed=False)
    with settled.copied(installation, "UPDATE instance SET topic_prefix = topic_prefix") as restored:
        with settled.running(installation, is_relaying=False):
            settled.send(installation, orders(2))
            settled.wait_until_settled(installation, seen=3, is_relayed=False)
            with pytest.raises(ports.MembersActive, match="allocation-"):
                cli.run("replay", "rewind", "--to-earliest", *WHY)
        before = handled(installation)
        assert {table: len(kept) > 1 for table, kept in before.items()} == dict.fromkeys(before, True)

        def is_reread(how_many: int | None = None) -> None:
            logged.clear()
            with settled.running(installation, is_relaying=False):
                wait_until_reread(installation)
            if how_many is not None:
                assert sum(entry["repeated"] for entry in logged if entry["event"] == "worker.batch") == how_many
            assert handled(installation) == before

        reset_offsets_by_kafkas_tool(installation, "--to-earliest")
        is_reread(3)
        reset_offsets_by_kafkas_tool(installation, "--to-latest")
        is_reread()  # the last of each log at most, by which it is recognised
        commit_as_any_client(installation, dict.fromkeys(positions(installation), 0))
        is_reread(3)
        tried = cli.run("replay", "rewind", "--to-earliest", "--dry-run", *WHY)
        assert "3 offsets will be read again" in tried.stdout, tried.stdout
        assert committed(installation) == positions(installation)
        done = cli.lines("replay", "rewind", "--to-earliest", "--wait", "--json", *WHY)
        assert sum(line["read_again"] for line in done) == 3
        assert committed(installation) == {}
        is_reread(3)
        other = installation.model_copy(update={"consumer_group": f"{installation.consumer_group}-other"})
        with settled.running(other, is_relaying=False):
            settled.send(other, orders(3))
            settled.wait_until_settled(other, seen=4, is_relayed=False)
        since = handled(installation)
        assert {table: since[table][: len(kept)] for table, kept in before.items()} == before
        assert len(since["inbox"]) == len(before["inbox"]) + 1
        assert allocated(installation) == ["o1", "o2"]

        with settled.running(restored, is_relaying=False):
            settled.wait_until_settled(restored, seen=4, is_relayed=False)
        query = "SELECT * FROM order_lines ORDER BY orderid"
        assert rows(restored, query) == rows(installation, query)
    assert audited(installation) == ["replay.rewound"] * len([line for line in done if line["position"]])


def test_a_range_is_handled_anew_events_are_sent_again_and_a_part_is_skipped(
    installation: config.Settings, cli: operator_commands.Commands, endpoints: devstack.Endpoints
) -> None:
    with settled.running(installation):
        settled.send(installation, [LAMPS, *orders(1, 2, 3)])
        settled.wait_until_settled(installation, seen=4)
        (short,) = {"o1", "o2", "o3"} - set(allocated(installation))

        again = ("replay", "rewind", "--again", "--only", "allocate", "--to-earliest", "--json", *WHY)
        (told,) = cli.lines(*again, "--dry-run")
        assert (told["orderid"], told["attempt"], told["batchref"]) == (short, 2, None)
        settled.send(installation, [MORE_LAMPS])
        settled.wait_until_settled(installation, seen=5)
        tried = cli.run(*[argument for argument in again if argument != "--json"], "--dry-run")
        assert f"attempt 2: 1 LAMP for {short}: room in b2" in tried.stdout
        assert "2 commands left alone: allocated" in tried.stderr
        assert rows(installation, "SELECT count(*) FROM inbox WHERE attempt > 1") == [(0,)]
        cli.lines(*again)
        waiting.wait_until(lambda: len(allocated(installation)) == 3, deadline_s=settled.DEADLINE_S)
        wait_until_outbox_is_empty(installation)
        assert cli.lines(*again) == []

        sent = cli.lines("replay", "resend", "--from", "2020-01-01T00:00Z", "--orderid", "o1", "--json", *WHY)
        assert [event["batchref"] for event in sent] == ["b1"]
        tried = cli.run("replay", "resend", "--from", "2020-01-01T00:00Z", "--sku", "LAMP", "--dry-run", *WHY)
        assert "orderid=o1 sku=LAMP qty=1 batchref=b1" in tried.stdout
        assert tried.stderr == "4 events would go out again\n"  # three allocated, and one that was out of stock
        wait_until_outbox_is_empty(installation)
    topic = bootstrap.topic_names(installation).line_allocated
    of_first_order = (messages.CE_CAUSATIONID, b"o1")
    first, second = (one for one in kafka_logs.records(endpoints, topic) if of_first_order in one.headers)
    assert (second.key, second.value) == (first.key, first.value)
    assert second.headers == (*first.headers, (messages.RESENT, b"1"))

    settled.send(installation, orders(4, 5))
    ((partition, position, end),) = (
        (line["partition"], line["position"], line["end"])
        for line in cli.lines("replay", "plan", "--topic", "allocate", "--json")
        if line["end"]
    )
    skip = ("replay", "skip", "allocate", "--partition", str(partition), "--to-offset")
    planned = cli.run("replay", "plan", "--from", "2020-01-01T00:00Z", "--topic", "allocate")
    assert f"reads {end} offsets of these" in planned.stdout
    assert "would be skipped, 1 command\n" in cli.run(*skip, str(end - 1), "--dry-run", *WHY).stdout
    for nowhere in (position, end + 1):
        with pytest.raises(ports.CannotReplay):
            cli.run(*skip, str(nowhere), *WHY)
    skipped = cli.lines(*skip, str(end - 1), "--json", *WHY)
    assert [(line["first"], line["last"], line["commands"]) for line in skipped] == [(position, end - 2, 1)]
    with settled.running(installation):
        wait_until_reread(installation)
        wait_until_outbox_is_empty(installation)
    assert rows(installation, "SELECT id FROM inbox WHERE id IN ('o4', 'o5')") == [("o5",)]
    assert disagreements(installation) == []
    (sent_after_all, _) = cli.lines(*again, "--dry-run")  # and o5, which has found no room
    assert (sent_after_all["orderid"], sent_after_all["attempt"]) == ("o4", 2)
    assert audited(installation) == ["replay.again", "replay.resent", "replay.skipped"]


def make_anew(endpoints: devstack.Endpoints, topic: str) -> None:
    client = kafka_logs.raw_admin(endpoints)
    client.delete_topics([topic])[topic].result()

    def is_made() -> bool:
        # It fails until the brokers have forgotten the old one.
        return client.create_topics([admin.NewTopic(topic, PARTITIONS, 1)])[topic].exception() is None

    waiting.wait_until(is_made, deadline_s=settled.DEADLINE_S)


def test_a_topic_that_was_made_anew_is_recognised_and_adopted_or_restarted_under_a_running_worker(
    installation: config.Settings, cli: operator_commands.Commands, endpoints: devstack.Endpoints
) -> None:
    allocate = bootstrap.topic_names(installation).allocate
    old_ids = "SELECT DISTINCT topic_id FROM positions WHERE topic LIKE '%.allocate'"
    with settled.running(installation, is_relaying=False):
        settled.send(installation, [("CreateBatch", {"ref": "b1", "sku": "LAMP", "qty": 9}, "b1"), *orders(1)])
        settled.wait_until_settled(installation, seen=2, is_relayed=False)
        assert cli.run("position", "list").returncode == 0
        with pytest.raises(ports.CannotReplay, match="nothing is to be decided"):
            cli.run("position", "restart", "allocate", *WHY)
        ((old,),) = rows(installation, old_ids)

        make_anew(endpoints, allocate)
        settled.send(installation, orders(1, 2))
        listed = cli.run("position", "list", "--json")
        problems = [line["problem"] for line in map(json.loads, listed.stdout.splitlines()) if line["problem"]]
        assert listed.returncode == 1
        assert len(problems) == PARTITIONS
        assert all("re-created" in problem and old in problem for problem in problems)
        assert allocated(installation) == ["o1"]

        restarted = cli.lines("position", "restart", "allocate", "--json", *WHY)
        assert {line["next_offset"] for line in restarted} == {0}
        waiting.wait_until(lambda: allocated(installation) == ["o1", "o2"], deadline_s=settled.DEADLINE_S)
        assert rows(installation, old_ids) != [(old,)]
        assert cli.run("position", "list").returncode == 0

        make_anew(endpoints, allocate)
        settled.send(installation, orders(3))
        adopted = cli.lines("position", "adopt", "allocate", "--at", "end", "--json", *WHY)
        assert sum(line["next_offset"] for line in adopted) == 1
        settled.send(installation, orders(4))
        waiting.wait_until(lambda: allocated(installation) == ["o1", "o2", "o4"], deadline_s=settled.DEADLINE_S)
    with bootstrap.database(installation) as engine, engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE positions SET last_digest = '' WHERE last_offset >= 0"))
    assert "is not the one that was handled" in cli.run("position", "list").stdout
    assert "goes on at offset" in cli.run("position", "adopt", "allocate", "--at", "end", *WHY).stdout
    assert cli.run("position", "adopt", "allocate", "--at", "middle", *WHY).returncode == 2
    assert audited(installation) == [*["position.restarted"] * PARTITIONS, *["position.adopted"] * (PARTITIONS + 1)]
