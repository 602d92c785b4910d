"""A database is put back as it was some time ago, while the topics went on: it heals, and nothing goes out twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation import bootstrap
from allocation.adapters.kafka import clients as kafka
from allocation.adapters.kafka import log_reader
from allocation.adapters.postgres import schema
from allocation.bootstrap import relaying
from allocation.service_layer import messages
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import ports, restoring
from allocation.service_layer.relaying import passes
from allocation.service_layer.relaying import ports as relaying_ports
from tests import databases
from tests.integration import settled, test_rebuilding

if TYPE_CHECKING:
    from allocation import config, devstack

NOTE = audit.Note("jane", "the disk is new")
LAST: list[settled.Given] = [
    ("Allocate", {"orderid": f"late-{number}", "sku": "LAMP", "qty": 1}, f"last-{number}") for number in range(4)
]


class BackUp:
    """A copy of the files of a database; nobody may be connected when it is taken or put back."""

    def __init__(self, settings: config.Settings) -> None:
        url = sqlalchemy.make_url(settings.database_url)
        self._live, self._copy = url.database, f"{url.database}_backup"
        self._admin = url.set(database="postgres")
        self._run(f"CREATE DATABASE {self._copy} TEMPLATE {self._live}")

    def put_back(self) -> None:
        self._run(f"DROP DATABASE {self._live} WITH (FORCE)", f"CREATE DATABASE {self._live} TEMPLATE {self._copy}")

    def drop(self) -> None:
        self._run(f"DROP DATABASE {self._copy}")

    def _run(self, *statements: str) -> None:
        engine = sqlalchemy.create_engine(self._admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()


def restore(settings: config.Settings, *, dry_run: bool = False) -> restoring.Restored:
    with bootstrap.restorer(settings) as restorer:
        return restorer.run(NOTE, dry_run=dry_run, on_progress=lambda _what, _done, _total: None)


def relay_once(settings: config.Settings, *, rows: int) -> None:
    """Send the first rows of the outbox, and no more."""
    desk = relaying._relay_desk(settings, shard=0, owner="test")  # noqa: SLF001 - a relay that ends after one pass
    with desk as parts, parts.open_log() as log:
        size = passes.PassSize(maximum=rows, rows=rows)
        relay = passes.ShardRelay(shard=0, outbox=parts.outbox, kafka_log=log, size=size)
        relay.recover()
        relay.run_pass()


def announced(settings: config.Settings) -> Counter[tuple[str, bytes | None]]:
    names = bootstrap.topic_names(settings)
    reader = log_reader.LogReader(kafka.ClientConfig(settings.kafka_bootstrap_servers, {}))
    found = Counter(
        (record.topic, dict(record.headers).get(messages.CE_ID)) for record in reader.read([*names.events.values()])
    )
    found.update((record.topic, record.key) for record in reader.read([names.journal]))
    return found


def restore_from_the_topics_alone(settings: config.Settings, endpoints: devstack.Endpoints) -> None:
    with databases.fresh(endpoints) as database:
        fresh = settings.model_copy(update={"database_url": database.url.render_as_string(hide_password=False)})
        bootstrap.initialise(fresh, on_progress=lambda _text: None)
        restore(fresh)
        with settled.running(fresh):
            settled.wait_until_settled(fresh, seen=18, parked=2)
        check_all_agree(fresh)


def check_all_agree(settings: config.Settings) -> None:
    with bootstrap.verification(settings) as verification:
        assert verification.run(keep=5, on_progress=lambda _what, _done, _total: None).findings == []


def test_a_restored_database_does_again_what_it_lacks_and_announces_nothing_twice(
    initialised: config.Settings, endpoints: devstack.Endpoints
) -> None:
    settings = initialised.model_copy(update={"grace_s": 600.0})
    with settled.running(settings):
        settled.send(settings, settled.STOCK)
        settled.wait_until_settled(settings, seen=2)
    with settled.running(settings, is_relaying=False):  # these wait in the outbox of the back-up
        settled.send(settings, test_rebuilding.ORDERS)
        settled.wait_until_settled(settings, seen=11, parked=3, is_relayed=False)
    back_up = BackUp(settings)
    with settled.running(settings):
        settled.send(settings, test_rebuilding.LATER)
        settled.wait_until_settled(settings, seen=13, parked=2)
    with settled.running(settings, is_relaying=False):
        settled.send(settings, LAST)
        settled.wait_until_settled(settings, seen=17, parked=2, is_relayed=False)
    relay_once(settings, rows=2)  # the journal's row and the first event; the others are lost with the database
    lost = test_rebuilding.rows(settings, "public")

    back_up.put_back()
    with pytest.raises(schema.NotInitialised, match="run `allocation replay restore`"), settled.running(settings):
        pass
    with pytest.raises(relaying_ports.RelayStopped, match="run `allocation replay restore`"):
        relay_once(settings, rows=1)
    planned = restore(settings, dry_run=True)
    done = restore(settings)
    assert (done.rows, done.records) == (planned.rows, planned.records)
    assert test_rebuilding.rows(settings, "public") == lost
    assert restore(settings).rows == 0
    assert test_rebuilding.column(settings, "SELECT what FROM audit") == ["replay.restored"] * 2

    with settled.running(settings):
        settled.send(settings, [("Allocate", {"orderid": "o9", "sku": "CHAIR", "qty": 1}, "order-9")])
        settled.wait_until_settled(settings, seen=18, parked=2)
    assert set(announced(settings).values()) == {1}
    check_all_agree(settings)

    back_up.put_back()  # of the life before
    with pytest.raises(relaying_ports.RelayStopped, match="of a later life of the database"):
        relay_once(settings, rows=1)
    restore(settings)
    relay_once(settings, rows=1)

    back_up.put_back()
    test_rebuilding.execute(settings, "UPDATE journal SET entries = '[]' WHERE number = 1")
    with pytest.raises(ports.CannotReplay, match="row 1 of its journal is not the one on the topic"):
        restore(settings)
    back_up.drop()

    restore_from_the_topics_alone(settings, endpoints)
    assert set(announced(settings).values()) == {1}
