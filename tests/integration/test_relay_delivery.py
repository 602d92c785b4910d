"""The relay without transactions over real parts: what a crash repeats, and the way there and back."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation import bootstrap
from allocation.adapters.postgres import tables
from allocation.service_layer import kill_points
from allocation.service_layer.relaying import ports
from tests import outbox_load, waiting
from tests.e2e import parts
from tests.integration import test_relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config, devstack


@pytest.fixture
def load(endpoints: devstack.Endpoints) -> Iterator[outbox_load.Load]:
    with outbox_load.an_installation(endpoints) as load:
        yield load


def at_least_once(load: outbox_load.Load) -> config.Settings:
    return load.settings.model_copy(update={"delivery": "at_least_once"})


def drain(load: outbox_load.Load, settings: config.Settings) -> None:
    with test_relay.a_running_relay(settings):
        waiting.wait_until(lambda: delivery(load) == settings.delivery, deadline_s=30)
        load.wait_until_sent()


def delivery(load: outbox_load.Load) -> str | None:
    with load.database.connect() as connection:
        return connection.scalar(sqlalchemy.select(tables.relay_shards.c.delivery))


def die(settings: config.Settings, point: str) -> None:
    with parts.running("relay", settings, more={kill_points.VARIABLE: point}) as relay:
        assert relay.wait() == -signal.SIGKILL


def test_what_a_crash_repeats_is_in_order_again_for_whoever_drops_what_he_has_had(load: outbox_load.Load) -> None:
    settings = at_least_once(load)
    drain(load, settings)  # from here on the database is one that delivers so
    with load.writing():
        die(settings, "relay.after_commit:2")
        with parts.running("relay", settings, more={kill_points.VARIABLE: "relay.after_commit:1:stop"}) as zombie:
            zombie.logged("kill_point.reached")
            with parts.running("relay", settings) as successor:
                assert "drop what has a ce_id" in successor.logged("relay.at_least_once")["means"]
                successor.logged("relay.active")
                zombie.process.send_signal(signal.SIGCONT)
                zombie.logged("relay.superseded")
                assert zombie.stop() == 0
                assert successor.stop() == 0
    drain(load, settings)
    found = outbox_load.published(load.settings, load.topic)
    assert {sku: list(dict.fromkeys(numbers)) for sku, numbers in found.items()} == {
        sku: list(range(rows)) for sku, rows in load.written.items() if rows
    }
    assert sum(map(len, found.values())) > load.written.total()  # or the crashes have shown nothing


def test_the_way_there_and_back_repeats_nothing_and_is_barred_while_rows_are_left(load: outbox_load.Load) -> None:
    load.write(rows=3)
    die(load.settings, "relay.after_commit")
    assert load.unsent() == 3
    for settings in (at_least_once(load), load.settings):
        drain(load, settings)
        load.write(rows=3)
        drain(load, settings)
        load.check_published()

    load.write(rows=3)
    barred = "still has 3 rows that are to be sent exactly_once. Set ALLOCATION_DELIVERY=exactly_once"
    with pytest.raises(ports.RelayStopped, match=barred):
        bootstrap.relay(at_least_once(load), shard=0).run(threading.Event())
    drain(load, load.settings)
    load.check_published()
