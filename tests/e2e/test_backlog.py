"""A worker works off whatever has piled up in constant memory, and stands still where it should not go on."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from allocation.service_layer import brakes
from tests import waiting
from tests.e2e import floods, parts

if TYPE_CHECKING:
    from allocation import config

SKUS = 100
# A worker that has just started has 80 to 100 MB; a full batch and what the Kafka client has fetched are the rest.
MOST_MEMORY_MB = 400
# The second half of a backlog must not add to what the first took: but for what allocators leave unused.
MORE_MEMORY_MB = 60
LONG_S = 600.0


def skus() -> list[str]:
    return [f"sku-{number}" for number in range(SKUS)]


@pytest.mark.timeout(LONG_S)
def test_a_backlog_is_worked_off_in_constant_memory(initialised: config.Settings, pytestconfig: pytest.Config) -> None:
    orders = 200_000 if pytestconfig.getoption("--long") else 20_000
    unlimited = initialised.model_copy(update={"outbox_limit": 10**7})
    with floods.flood(unlimited) as flood:
        flood.create(*skus())
        for number, sku in enumerate(skus()):
            flood.allocate(sku, number * orders, orders // SKUS)
        with parts.running("worker", unlimited) as worker:
            flood.await_handled(flood.sent // 2)
            early_mb = floods.peak_memory_mb(worker.process.pid)
            began, before = time.monotonic(), flood.handled
            flood.await_handled(deadline_s=LONG_S)
            speed = (flood.sent - before) / (time.monotonic() - began)
            peak_mb = floods.peak_memory_mb(worker.process.pid)
        floods.tell(
            f"{orders} commands, {speed:.0f}/s; peak {early_mb:.0f} MB after a half, {peak_mb:.0f} MB at the end"
        )
        flood.assert_settled(lines=orders)
    assert peak_mb < MOST_MEMORY_MB
    assert peak_mb - early_mb < MORE_MEMORY_MB


def test_a_backlog_of_the_largest_rubbish_is_worked_off_in_bounded_memory(
    initialised: config.Settings, pytestconfig: pytest.Config
) -> None:
    count = 600 if pytestconfig.getoption("--long") else 100
    tolerant = initialised.model_copy(update={"refusal_limit": 1})
    with floods.flood(tolerant) as flood:
        for number in range(count):
            flood.send_bytes("Allocate", b"\xff" * 1_000_000, key=str(number).encode())
        flood.flush()
        with parts.running("worker", tolerant) as worker:
            flood.await_handled()
            peak_mb = floods.peak_memory_mb(worker.process.pid)
        floods.tell(f"{count} messages of 1 MB each; peak {peak_mb:.0f} MB")
        assert flood.outbox == count + flood.number("SELECT count(*) FROM journal")
    assert peak_mb < MOST_MEMORY_MB


def test_a_stuck_relay_stops_the_worker_at_the_limit_until_it_works_again(initialised: config.Settings) -> None:
    orders = 20_000
    limited = initialised.model_copy(update={"outbox_limit": 1000, "batch_size": 50})
    with floods.flood(limited) as flood:
        flood.create(*skus())
        for number, sku in enumerate(skus()):
            flood.allocate(sku, number * orders, orders // SKUS)
        with parts.running("worker", limited) as worker:
            reason = worker.logged("worker.stands_still")["reason"]
            assert "1000 rows wait in the outbox" in reason
            flood.assert_stands_still()
            stood_at = flood.outbox
            assert stood_at >= 1000
            assert flood.handled < flood.sent
            with parts.running("relay", limited):
                worker.logged("worker.goes_on")
                flood.await_handled()
                waiting.wait_until(lambda: flood.outbox == 0, deadline_s=parts.DEADLINE_S)
        floods.tell(f"stood still at {stood_at} rows for a limit of 1000")
        assert flood.number("SELECT count(*) FROM order_lines") == orders


def test_a_worker_that_refuses_most_of_what_it_reads_stops_consuming_and_says_so(initialised: config.Settings) -> None:
    small = initialised.model_copy(update={"batch_size": 100})
    with floods.flood(small) as flood:
        for number in range(5000):
            flood.send_bytes("Allocate", b"rubbish", key=str(number).encode())
        flood.flush()
        with parts.running("worker", small) as worker:
            assert "most of the last 1000 messages were refused" in worker.logged("worker.stands_still")["reason"]
            flood.assert_stands_still()
            stood_at = flood.handled
            assert 1000 <= stood_at <= 1100
            assert flood.number("SELECT count(*) FROM outbox WHERE topic ~ 'dead_letter'") == stood_at
            assert worker.stop() == 0
        off = small.model_copy(update={"refusal_limit": 1})
        with parts.running("worker", off):
            flood.await_handled()
        assert flood.number("SELECT count(*) FROM outbox WHERE topic ~ 'dead_letter'") == flood.sent


def test_a_worker_that_refuses_less_than_half_goes_on(initialised: config.Settings) -> None:
    with floods.flood(initialised) as flood:
        flood.create("LAMP")
        for number in range(1500):
            if number % 5 < 2:
                flood.send_bytes("Allocate", b"rubbish", key=str(number).encode())
            flood.send("Allocate", {"orderid": f"o{number}", "sku": "LAMP", "qty": 1}, partition=number % 6)
        flood.flush()
        with parts.running("worker", initialised) as worker:
            flood.await_handled()
            assert worker.stop() == 0
        assert "worker.stands_still" not in "".join(worker.said)


@pytest.mark.long
def test_a_database_too_slow_for_a_full_batch_costs_one_eviction_and_not_one_after_another(
    initialised: config.Settings,
) -> None:
    orders, full, line_s, patience_s = 800, 400, 0.013, 4.5
    impatient = initialised.model_copy(
        update={
            "batch_size": full,
            "session_timeout_ms": 3000,
            "kafka_config": {"max.poll.interval.ms": int(1000 * patience_s)},
        }
    )
    assert full * line_s > patience_s > 2 * brakes.BatchSize.BUDGET_S
    with floods.flood(impatient) as flood:
        flood.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({line_s}); RETURN NEW; END $$"
        )
        flood.execute("CREATE TRIGGER slow BEFORE INSERT ON order_lines FOR EACH ROW EXECUTE FUNCTION dawdle()")
        flood.create("LAMP")
        flood.allocate("LAMP", 0, orders)
        with parts.running("worker", impatient) as worker:
            took_s = flood.await_handled()
            assert worker.stop() == 0
        said = [json.loads(line) for line in worker.said if line.startswith("{")]
        flood.assert_settled(lines=orders)
    batches = [line["records"] for line in said if line["event"] == "worker.batch" and line["records"] > 1]
    assignments = sum(line["event"] == "worker.assigned" for line in said)
    floods.tell(f"batches of {batches} lines in {took_s:.0f} s, {assignments} assignments")
    assert batches[0] == full
    assert max(batches[1:]) <= full // 2
    assert 2 <= assignments <= 3
