"""Relay, bridge and API are told to stop in the middle of something: nothing is lost or doubled, told once or twice.

Each is halted at a kill point, so that it is certain what it had in hand as the signal came.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import time
from concurrent import futures
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation import bootstrap
from tests import outbox_load, waiting
from tests.chaos import processes
from tests.e2e import floods, parts, test_http, test_shutdown
from tests.integration import bridge_outside as outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from allocation import config, devstack

SKUS, ROWS = 10, 2000  # four passes of the relay
EVENTS = 1200  # three groups of the bridge
A_BATCH = {"ref": "b1", "sku": "CHAIR", "qty": 10}


@contextlib.contextmanager
def locked(database: sqlalchemy.Engine, table: str) -> Iterator[Callable[[], bool]]:
    """Keep all others from a table until the block ends; yields what tells whether one waits for it."""
    with database.begin() as connection:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

        def is_waited_for() -> bool:
            with database.connect() as another:
                return bool(another.exec_driver_sql(test_shutdown.WAITERS).scalar_one())

        yield is_waited_for


@pytest.fixture
def limits(pytestconfig: pytest.Config) -> test_shutdown.Limits:
    return test_shutdown.limits_of(pytestconfig)


@pytest.fixture
def load(endpoints: devstack.Endpoints) -> Iterator[outbox_load.Load]:
    """An outbox that is full."""
    with outbox_load.an_installation(endpoints) as load:
        for number in range(SKUS):
            load.write(sku=f"SKU-{number}", rows=ROWS)
        yield load


@contextlib.contextmanager
def halted(name: str, settings: config.Settings, directory: Path, *, at: str) -> Iterator[processes.Part]:
    """Run a part until it has halted at a kill point; it never outlives the block."""
    part = processes.Part(name, settings, log=directory / f"{name}.log", kill_point=f"{at}:stop")
    try:
        part.await_halt()
        yield part
    finally:
        if part.is_running:
            part.kill()


def stop(part: processes.Part, *, within_s: float) -> None:
    """Tell one that has halted to stop, awaken it, and fail unless it ends well and in time."""
    part.process.send_signal(signal.SIGTERM)
    part.thaw()
    began = time.monotonic()
    assert part.process.wait(processes.DEADLINE_S) == 0, part.log.read_text()[-2000:]
    took_s = time.monotonic() - began
    floods.tell(f"stopped {took_s:.2f} s after it had {part.kill_point}")
    assert took_s < within_s


def stop_twice(part: processes.Part | parts.Part, limits: test_shutdown.Limits) -> None:
    """Tell one to stop that cannot go on, tell it again, and fail unless it ends at once."""
    test_shutdown.send(part, signal.SIGTERM)
    test_shutdown.send(part, signal.SIGTERM)
    began = time.monotonic()
    assert part.process.wait(processes.DEADLINE_S) == 128 + signal.SIGTERM
    assert time.monotonic() - began < limits.at_once_s


def check_that_the_next_sends_the_rest(load: outbox_load.Load) -> None:
    load.check_published_so_far()
    with parts.running("relay", load.settings):
        load.wait_until_sent()
    load.check_published()


@pytest.mark.parametrize("point", ["relay.after_produce:2", "relay.before_commit:2", "relay.after_commit:2"])
def test_a_relay_finishes_the_pass_in_hand_and_leaves_the_rest_to_the_next(
    load: outbox_load.Load, tmp_path: Path, limits: test_shutdown.Limits, point: str
) -> None:
    with halted("relay", load.settings, tmp_path, at=point) as relay:
        stop(relay, within_s=limits.stop_s)
        assert len(relay.lines("relay.pass")) >= 2
    assert load.unsent()
    check_that_the_next_sends_the_rest(load)


def test_a_second_signal_ends_a_relay_at_once_between_what_kafka_has_and_what_the_outbox_has(
    load: outbox_load.Load, tmp_path: Path, limits: test_shutdown.Limits
) -> None:
    with (
        halted("relay", load.settings, tmp_path, at="relay.after_commit:2") as relay,
        locked(load.database, "outbox") as is_waited_for,
    ):
        relay.thaw()
        waiting.wait_until(is_waited_for, deadline_s=parts.DEADLINE_S)
        stop_twice(relay, limits)
    check_that_the_next_sends_the_rest(load)


@contextlib.contextmanager
def events_to_pass_on(settings: config.Settings) -> Iterator[outside.Programs]:
    """Announce events that a bridge has not seen; lends a program that hears what it makes of them."""
    bootstrap.establish_bridge(settings)
    with outside.programs(settings) as programs, outside.announcing(settings) as announcer:
        announcer.announce(*({"orderid": order, "sku": "LAMP", "qty": 1, "batchref": "b"} for order in orders()))
        yield programs


def orders() -> list[str]:
    return [f"o{number}" for number in range(EVENTS)]


def heard(programs: outside.Programs) -> list[str]:
    """Return the orders of all allocations up to the last of all."""
    found: list[str] = []
    while orders()[-1:] != found[-1:]:
        found.append(programs.next_allocation()["orderid"])
    assert programs.hears_nothing_more()
    return found


def test_a_bridge_stores_what_it_has_passed_on_and_leaves_the_rest_to_the_next(
    initialised: config.Settings, tmp_path: Path, limits: test_shutdown.Limits
) -> None:
    with events_to_pass_on(initialised) as programs:
        with halted("bridge", initialised, tmp_path, at="bridge.after_delivery:1") as bridge:
            stop(bridge, within_s=limits.stop_s)
        with parts.running("bridge", initialised):
            assert heard(programs) == orders()


def test_a_bridge_forwards_what_it_has_taken_from_redis_before_it_stops(
    initialised: config.Settings, tmp_path: Path, limits: test_shutdown.Limits
) -> None:
    with outside.programs(initialised) as programs, outside.watching(initialised, "allocate") as commands:
        bridge = processes.Part(
            "bridge", initialised, log=tmp_path / "bridge.log", kill_point="bridge.before_commit:1:stop"
        )
        with contextlib.ExitStack() as ended:
            ended.callback(bridge.kill)
            programs.wait_for_bridge()
            for order in orders():
                programs.publish("allocate", {"orderid": order, "sku": "LAMP", "qty": 1})
            bridge.await_halt()
            stop(bridge, within_s=limits.stop_s)
        assert [commands.decode(record)["orderid"] for record in commands.next(EVENTS)] == orders()
        assert commands.sees_nothing_more()


def test_a_second_signal_ends_a_bridge_at_once_and_only_what_it_had_in_hand_may_be_heard_again(
    initialised: config.Settings, tmp_path: Path, limits: test_shutdown.Limits
) -> None:
    database = sqlalchemy.create_engine(initialised.database_url)
    with events_to_pass_on(initialised) as programs:
        with (
            halted("bridge", initialised, tmp_path, at="bridge.after_delivery:1") as bridge,
            locked(database, "bridge_positions") as is_waited_for,
        ):
            bridge.thaw()
            waiting.wait_until(is_waited_for, deadline_s=parts.DEADLINE_S)
            stop_twice(bridge, limits)
        with parts.running("bridge", initialised):
            found = heard(programs)
    database.dispose()
    again = len(found) - EVENTS
    assert found[again:] == orders(), "lost or out of order"
    assert found[:again] == orders()[:again], "more than what was in hand is heard again"


@contextlib.contextmanager
def a_call_that_waits(settings: config.Settings) -> Iterator[tuple[parts.Part, futures.Future[tuple[int, str]]]]:
    """Call an API behind which no worker is, until it has its command in Kafka and waits for the outcome."""
    with (
        outside.watching(settings, "create_batch") as commands,
        parts.running("api", settings) as api,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        url = api.logged("api.listening")["url"]
        answer = pool.submit(test_http.call, f"{url}/add_batch", A_BATCH)
        waiting.wait_until(
            lambda: "allocation_http_waiting_commands 1.0" in test_http.call(f"{url}/metrics")[1],
            deadline_s=parts.DEADLINE_S,
        )
        commands.next(1)  # a call waits from before its command is in Kafka
        assert not answer.done()
        yield api, answer


def check_that_a_worker_handles_it_once(settings: config.Settings) -> None:
    with floods.flood(settings) as reading, parts.running("worker", settings):
        reading.await_handled(1)
        assert (reading.number("SELECT count(*) FROM batches"), reading.handled) == (1, 1)


def test_an_api_answers_the_call_in_hand_and_its_command_is_handled_later(
    initialised: config.Settings, limits: test_shutdown.Limits
) -> None:
    settings = initialised.model_copy(update={"http_timeout_s": test_http.CALL_S})
    with a_call_that_waits(settings) as (api, answer):
        api.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert api.wait() == 0
        assert time.monotonic() - began < test_http.CALL_S + limits.stop_s
        assert answer.result(parts.DEADLINE_S)[0] == 202
    check_that_a_worker_handles_it_once(settings)


def test_a_second_signal_ends_an_api_at_once_and_its_command_is_handled_later(
    initialised: config.Settings, limits: test_shutdown.Limits
) -> None:
    settings = initialised.model_copy(update={"http_timeout_s": parts.DEADLINE_S})
    with a_call_that_waits(settings) as (api, answer):
        stop_twice(api, limits)
        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result(parts.DEADLINE_S)
    check_that_a_worker_handles_it_once(settings)
