from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from allocation.adapters.postgres import tables
from tests import kafka_logs, stopwatch
from tests.integration import bridge_outside as outside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config, devstack


def an_event(orderid: str, *, sku: str = "LAMP") -> dict[str, object]:
    return {"orderid": orderid, "sku": sku, "qty": 3, "batchref": "batch-1"}


@pytest.fixture
def programs(initialised: config.Settings) -> Iterator[outside.Programs]:
    with outside.programs(initialised) as programs:
        yield programs


@pytest.fixture
def announcer(initialised: config.Settings) -> Iterator[outside.Announcer]:
    """Someone who announces events after the bridge's beginning was fixed."""
    bootstrap.establish_bridge(initialised)
    with outside.announcing(initialised) as announcer:
        yield announcer


def test_committed_allocations_are_published_with_exactly_their_keys(
    initialised: config.Settings, programs: outside.Programs, announcer: outside.Announcer
) -> None:
    with outside.a_bridge(initialised):
        announcer.announce(an_event("given up"), commit=False)
        announcer.announce(an_event("o1"), an_event("o2"))

        assert programs.next_allocation() == {"orderid": "o1", "sku": "LAMP", "qty": 3, "batchref": "batch-1"}
        assert programs.next_allocation()["orderid"] == "o2"
        assert programs.hears_nothing_more()


def test_an_allocation_is_on_redis_within_a_second(
    initialised: config.Settings, programs: outside.Programs, announcer: outside.Announcer
) -> None:
    def announce_and_hear() -> None:
        announcer.announce(an_event("o1"))
        assert programs.next_allocation()["orderid"] == "o1"

    with outside.a_bridge(initialised):
        announcer.announce(an_event("the first takes connecting"))
        programs.next_allocation()

        assert stopwatch.is_quick(announce_and_hear, within_s=1.0)


def test_what_was_announced_before_the_first_start_is_history(
    initialised: config.Settings, programs: outside.Programs, endpoints: devstack.Endpoints
) -> None:
    with bootstrap.database(initialised) as database, database.begin() as connection:
        connection.execute(tables.bridge_positions.delete())
    with outside.announcing(initialised) as announcer:
        announcer.announce(an_event("history"))
        kafka_logs.records(endpoints, bootstrap.topic_names(initialised).line_allocated)  # waits until it can be seen
        bootstrap.establish_bridge(initialised)
        announcer.announce(an_event("news"))
    with outside.a_bridge(initialised):
        assert programs.next_allocation()["orderid"] == "news"


def test_a_restarted_bridge_goes_on_where_it_was(
    initialised: config.Settings, programs: outside.Programs, announcer: outside.Announcer
) -> None:
    with outside.a_bridge(initialised):
        announcer.announce(an_event("before"))
        assert programs.next_allocation()["orderid"] == "before"
    announcer.announce(an_event("meanwhile"))
    with outside.a_bridge(initialised):
        assert programs.next_allocation()["orderid"] == "meanwhile"
        assert programs.hears_nothing_more()


def test_resent_and_unreadable_records_are_passed_over(
    initialised: config.Settings, programs: outside.Programs, announcer: outside.Announcer
) -> None:
    with outside.a_bridge(initialised):
        announcer.announce(an_event("resent"), headers={"allocation_resent": b"1"})
        announcer.write(None)
        announcer.write(b"nonsense")
        announcer.announce(an_event("good"))

        assert programs.next_allocation()["orderid"] == "good"


def test_nothing_is_skipped_while_redis_refuses_to_publish(
    initialised: config.Settings, programs: outside.Programs, announcer: outside.Announcer
) -> None:
    name = initialised.topic_prefix.rstrip(".")
    programs.client.acl_setuser(name, enabled=True, passwords=["+secret"], commands=["+@all"], channels=["*"])
    address = initialised.redis_url.removeprefix("redis://")
    with outside.a_bridge(initialised.model_copy(update={"redis_url": f"redis://{name}:secret@{address}"})):
        announcer.announce(an_event("before"))
        programs.next_allocation()
        programs.client.acl_setuser(name, commands=["-publish"])
        announcer.announce(*(an_event(f"o{number}") for number in range(20)))
        assert programs.hears_nothing_more()
        programs.client.acl_setuser(name, commands=["+publish"])

        assert [programs.next_allocation()["orderid"] for _ in range(20)] == [f"o{number}" for number in range(20)]
    programs.client.acl_deluser(name)


def test_publishing_goes_on_after_postgres_and_kafka_were_down(
    breakable_stack: devstack.Stack,
    initialised: config.Settings,
    programs: outside.Programs,
) -> None:
    bootstrap.establish_bridge(initialised)
    with outside.a_bridge(initialised):
        programs.wait_for_bridge()
        for service in (breakable_stack.postgres, breakable_stack.kafka):
            service.stop()
            service.start()
            service.wait_ready()
        with outside.announcing(initialised) as announcer:
            announcer.announce(an_event("o1"))

        assert programs.next_allocation()["orderid"] == "o1"


def test_a_bridge_waits_for_services_that_are_down_when_it_starts(
    breakable_stack: devstack.Stack,
    initialised: config.Settings,
    programs: outside.Programs,
) -> None:
    breakable_stack.postgres.stop()
    with outside.a_bridge(initialised):
        breakable_stack.postgres.start()
        breakable_stack.postgres.wait_ready()

        programs.wait_for_bridge()
