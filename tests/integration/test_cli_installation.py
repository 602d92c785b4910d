"""`allocation init` and `allocation status` on real services."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from confluent_kafka import admin

from allocation import bootstrap
from allocation.service_layer.operations import producing
from tests.integration import command_line

if TYPE_CHECKING:
    from allocation import config

NOBODY = "127.0.0.1:1"  # a port that no program may listen on by chance


@pytest.fixture
def cli(settings: config.Settings) -> command_line.CommandLine:
    return command_line.CommandLine(settings)


def test_init_makes_what_is_missing_and_may_be_repeated(cli: command_line.CommandLine) -> None:
    first, second = cli.run("init"), cli.run("init")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1] == "ready"
    assert "topics: 9 created" in first.stdout
    assert "topics: 0 created" in second.stdout
    assert "warning" not in first.stdout + second.stdout


def test_init_warns_of_a_topic_that_forgets(cli: command_line.CommandLine, initialised: config.Settings) -> None:
    topics = {name: f"{initialised.topic_prefix}{name}" for name in ("allocate", "allocation.journal", "out_of_stock")}
    set_on_topic(initialised, topics["allocate"], {"cleanup.policy": "compact,delete", "retention.ms": "86400000"})
    set_on_topic(initialised, topics["allocation.journal"], {"retention.bytes": "1000000000"})
    done = cli.run("init")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning")]
    assert [line.split(": ")[1] for line in warnings] == [
        f"topic {topics['allocate']} has cleanup.policy=compact,delete,retention.ms=86400000",
        f"topic {topics['allocation.journal']} has retention.bytes=1000000000",
    ]
    assert warnings[0].endswith(
        f"kafka-configs --alter --entity-type topics --entity-name {topics['allocate']} "
        "--add-config cleanup.policy=delete,retention.ms=-1"
    )


def set_on_topic(settings: config.Settings, topic: str, values: dict[str, str]) -> None:
    entries: list[Any] = [
        admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
        for name, value in values.items()
    ]
    resource = admin.ConfigResource("topic", topic, incremental_configs=entries)
    client = admin.AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    client.incremental_alter_configs([resource])[resource].result()


def test_init_waits_for_what_is_not_up_yet(cli: command_line.CommandLine, settings: config.Settings) -> None:
    admin = sqlalchemy.create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    late = sqlalchemy.make_url(settings.database_url).database
    name = f"{late}_late"
    url = sqlalchemy.make_url(settings.database_url).set(database=name).render_as_string(hide_password=False)
    with cli.started("init", "--wait", "60", ALLOCATION_DATABASE_URL=url) as init, admin.connect() as connection:
        told = command_line.wait_for(init, "waiting: ")
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        assert init.wait(command_line.DEADLINE_S) == 0
        connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
    assert f'"{name}" does not exist' in told


def test_init_waits_for_who_works_on_the_tables(cli: command_line.CommandLine, settings: config.Settings) -> None:
    assert cli.run("init").returncode == 0
    database = sqlalchemy.create_engine(settings.database_url)
    with database.connect() as connection:
        connection.execute(sqlalchemy.text("LOCK TABLE alembic_version"))
        with cli.started("init") as init:
            told = command_line.wait_for(init, "waiting: ")
            connection.rollback()
            printed, _ = init.communicate(timeout=command_line.DEADLINE_S)
            assert init.returncode == 0
    database.dispose()
    assert printed.count("topics: ") == 1
    assert "another transaction holds what is needed" in told


def test_init_without_waiting_names_what_is_down(cli: command_line.CommandLine) -> None:
    failed = cli.run("init", ALLOCATION_SCHEMA_REGISTRY_URL=f"http://{NOBODY}")
    assert failed.returncode == 1
    assert f"the schema registry at http://{NOBODY}" in failed.stderr.splitlines()[-1]


def test_status_counts_what_is_not_handled(cli: command_line.CommandLine, initialised: config.Settings) -> None:
    with bootstrap.command_sender(initialised) as sender:
        for orderid in ("o1", "o2", "o3"):
            sender.send(producing.GivenCommand("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1}))
    (found,) = [json.loads(cli.run("status", "--json").stdout)]
    assert (found["ok"], found["problems"]) == (True, {})
    assert found["lag"] == 3
    assert len(found["partitions"]) == 3 * initialised.partitions
    (behind,) = [partition for partition in found["partitions"] if partition["lag"]]
    assert behind["topic"] == f"{initialised.topic_prefix}allocate"
    assert (behind["position"], behind["end"], behind["committed"]) == (0, 3, None)
    assert found["outbox"] == {"rows": 0, "oldest_age_s": None}
    assert found["dead_letters"] == {"count": 0, "is_exact": True}
    assert (found["members"], found["owners"], found["parked"]) == ([], {}, {})


def test_status_shows_people_what_it_can_and_names_what_is_down(
    cli: command_line.CommandLine, initialised: config.Settings
) -> None:
    shown = cli.run("status", ALLOCATION_REDIS_URL=f"redis://{NOBODY}/0")
    assert shown.returncode == 1
    assert f"{initialised.topic_prefix}change_batch_quantity" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("Redis ")


def test_status_of_what_was_never_set_up_names_the_remedy(cli: command_line.CommandLine) -> None:
    result = cli.run("status", "--json")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["problems"].keys() == {"database", "topics", "schema registry"}
    assert all("`allocation init`" in problem for problem in found["problems"].values())
    assert found["lag"] is None


def test_status_of_the_database_of_another_installation_says_so(
    cli: command_line.CommandLine,
    initialised: config.Settings,  # noqa: ARG001 - the database is set up
) -> None:
    found = json.loads(cli.run("status", "--json", ALLOCATION_TOPIC_PREFIX="other.").stdout)
    assert "topic prefix" in found["problems"]["installation"]
