from __future__ import annotations

import json
import time

import prometheus_client
import pytest

from allocation.adapters.prometheus import hearing, looking, metrics
from allocation.service_layer import messages, reporting, signals
from allocation.service_layer.operations import dead_letters, status
from tests import builders

TOPIC = metrics.TOPIC
PLACE = {TOPIC: "allocate", metrics.PARTITION: "1"}


@pytest.fixture
def registry() -> prometheus_client.CollectorRegistry:
    return prometheus_client.CollectorRegistry()


class Worker(hearing.WorkerSignals):
    def takes(self, *records: messages.Record, **outcomes: int) -> None:
        self.handled(records, [builders.a_report(topic=records[0].topic, events=2, repeated=1, **outcomes)], 0.3)


def record(topic: str, partition: int = 1, *, age_s: float = 0.0) -> messages.Record:
    made = builders.a_record(b"", topic=topic)
    return made._replace(partition=partition, timestamp_ms=int((time.time() - age_s) * 1000))


def test_a_batch_is_counted_by_topic_and_by_outcome(registry: prometheus_client.CollectorRegistry) -> None:
    worker = Worker(registry)
    worker.takes(record("allocate"), record("allocate"), record("create_batch"), handled=2, refused=1)
    value = registry.get_sample_value
    assert value("messaging_client_consumed_messages_total", {TOPIC: "allocate"}) == 2
    assert value("allocation_handling_seconds_total", {TOPIC: "create_batch"}) == pytest.approx(0.1)
    assert value("allocation_commands_total", {TOPIC: "allocate", "outcome": "handled"}) == 2
    assert value("allocation_commands_total", {TOPIC: "allocate", "outcome": "refused"}) == 1
    assert value("allocation_commands_total", {TOPIC: "allocate", "outcome": "repeated"}) == 1
    assert value("allocation_batch_commands_sum") == 3
    assert value("allocation_batch_duration_seconds_sum") == pytest.approx(0.3)
    assert value("allocation_events_total", {"type": "LineAllocated", "cause": "Allocate"}) == 2


def test_the_time_of_a_batch_is_that_of_its_topics_and_an_equal_share_of_the_rest(
    registry: prometheus_client.CollectorRegistry,
) -> None:
    worker = hearing.WorkerSignals(registry)
    records = [record("allocate"), record("allocate"), record("allocate"), record("change_batch_quantity")]
    reports = [reporting.Report(handling_s={"allocate": 0.1, "change_batch_quantity": 0.5})]
    worker.handled(records, reports, 1.0)
    value = registry.get_sample_value
    assert value("allocation_handling_seconds_total", {TOPIC: "allocate"}) == pytest.approx(0.4)
    assert value("allocation_handling_seconds_total", {TOPIC: "change_batch_quantity"}) == pytest.approx(0.6)


def test_how_old_commands_were_is_told_of_the_oldest_and_the_youngest(
    registry: prometheus_client.CollectorRegistry,
) -> None:
    worker = Worker(registry)
    worker.takes(record("allocate", age_s=20), record("allocate", age_s=10), record("allocate"))
    assert registry.get_sample_value("allocation_command_delay_seconds_count") == 2
    assert registry.get_sample_value("allocation_command_delay_seconds_sum") == pytest.approx(20, abs=5)
    worker.takes(record("allocate"))
    assert registry.get_sample_value("allocation_command_delay_seconds_count") == 3


def test_conflicts_and_outages_are_counted_apart(registry: prometheus_client.CollectorRegistry) -> None:
    worker = Worker(registry)
    for is_outage in (True, False, True):
        worker.retries(is_outage=is_outage)
    assert registry.get_sample_value("allocation_retries_total", {"cause": "outage"}) == 2
    assert registry.get_sample_value("allocation_retries_total", {"cause": "conflict"}) == 1


def test_what_alerts_wait_for_is_counted_from_nothing(registry: prometheus_client.CollectorRegistry) -> None:
    Worker(registry)
    hearing.RelaySignals(registry, dead_letter_topic="dead", journal_topic="journal")
    for cause in ("outage", "conflict"):
        assert registry.get_sample_value("allocation_retries_total", {"cause": cause}) == 0
    for reason in dead_letters.REASONS:
        assert registry.get_sample_value("allocation_dead_letters_total", {"reason": reason}) == 0


def test_what_the_end_of_a_grace_brings_about_is_counted_too(registry: prometheus_client.CollectorRegistry) -> None:
    worker = Worker(registry)
    worker.expired(builders.a_report(expired=2, events=1))
    assert registry.get_sample_value("allocation_commands_total", {TOPIC: "allocate", "outcome": "expired"}) == 2
    assert registry.get_sample_value("allocation_events_total", {"type": "LineAllocated", "cause": "Allocate"}) == 1


def test_a_worker_that_opens_anew_counts_rebalances_on(registry: prometheus_client.CollectorRegistry) -> None:
    worker = Worker(registry)
    for rebalances in (1, 3, 1, 2):
        worker.has_partitions(signals.Partitions(assigned=4, set_aside={"allocate/1": "gone"}), rebalances=rebalances)
    assert registry.get_sample_value("allocation_rebalances_total") == 4
    assert registry.get_sample_value("allocation_partitions", {"state": "assigned"}) == 4
    assert registry.get_sample_value("allocation_partitions", {"state": "set_aside"}) == 1


def a_row(topic: str, **headers: str | None) -> tuple[int, str, None, bytes, bytes, str]:
    return (1, topic, None, b"", b"", json.dumps(list(headers.items())))


def test_a_pass_is_counted_by_topic_and_dead_letters_by_reason(registry: prometheus_client.CollectorRegistry) -> None:
    relay = hearing.RelaySignals(registry, dead_letter_topic="dead", journal_topic="journal")
    relay.relayed(
        [
            a_row("journal"),
            a_row("dead", ce_sequence="1", ce_time="rubbish", dead_letter_reason="invalid"),
            a_row("dead", ce_id=None, note='["dead_letter_reason", "forged"]', dead_letter_reason="conflict"),
            a_row("line_allocated", ce_time="2026-01-02T00:00:00.000Z", ce_sequence="1"),
        ],
        0.2,
    )
    value = registry.get_sample_value
    assert value("messaging_client_sent_messages_total", {TOPIC: "dead"}) == 2
    assert value("messaging_client_sent_messages_total", {TOPIC: "line_allocated"}) == 1
    assert value("allocation_dead_letters_total", {"reason": "invalid"}) == 1
    assert value("allocation_dead_letters_total", {"reason": "conflict"}) == 1
    assert value("allocation_dead_letters_total", {"reason": "forged"}) is None
    assert value("allocation_relay_pass_rows_sum") == 4
    assert value("allocation_relay_pass_duration_seconds_sum") == pytest.approx(0.2)
    assert value("allocation_publication_delay_seconds_count") == 1


def test_the_whole_way_of_a_command_is_told_by_the_row_of_the_journal(
    registry: prometheus_client.CollectorRegistry,
) -> None:
    relay = hearing.RelaySignals(registry, dead_letter_topic="dead", journal_topic="journal")
    since = str(int((time.time() - 20) * 1000))
    released = a_row("journal")
    forged = a_row("dead", allocation_commands_since=since)
    relay.relayed([a_row("journal", allocation_commands_since=since), released, forged], 0.2)
    assert registry.get_sample_value("allocation_end_to_end_seconds_count") == 1
    assert registry.get_sample_value("allocation_end_to_end_seconds_sum") == pytest.approx(20, abs=5)


def test_the_bridge_counts_both_ways(registry: prometheus_client.CollectorRegistry) -> None:
    bridge = hearing.BridgeSignals(registry)
    bridge.forwarded([messages.OutboxMessage("allocate", b"", b"", ())] * 2)
    bridge.passed_on("redis", [builders.a_record()] * 3, 0.1)
    assert registry.get_sample_value("messaging_client_sent_messages_total", {TOPIC: "allocate"}) == 2
    assert registry.get_sample_value("allocation_bridge_delivered_events_total", {"reader": "redis"}) == 3


LOG = messages.LogPartition("id", 1)
PARTITION = status.Partition(topic="allocate", log=LOG, begin=0, end=10, committed=None)


def database(next_offset: int) -> status.DatabaseFigures:
    return status.DatabaseFigures(
        next_offsets={LOG: next_offset},
        outbox=status.Backlog(2, 1.5),
        quarantined=status.Backlog(1, 3.0),
        parked={"poisoned": status.Backlog(1, 7.0)},
        owners={},
        oldest_transaction_s=9.0,
    )


def test_lags_and_backlogs_are_looked_up_at_each_scrape(registry: prometheus_client.CollectorRegistry) -> None:
    found = [database(4), database(4), database(10)]
    registry.register(
        looking.Figures(
            look=lambda: looking.Found({"circuit": False}, found[0], [PARTITION]),
            handled_at=lambda: {("allocate", 1): time.time() - 60},
            committed=lambda: {("allocate", 1): 3},
        )
    )
    value = registry.get_sample_value
    assert value("allocation_consumer_lag_messages", PLACE) == 6
    assert value("allocation_consumer_lag_seconds", PLACE) == pytest.approx(60, abs=5)
    assert value("allocation_position_ahead_messages", PLACE) == 1
    assert value("allocation_outbox_rows") == 2
    assert value("allocation_outbox_oldest_age_seconds") == 1.5
    assert value("allocation_quarantined_rows") == 1
    assert value("allocation_maintenance_last_success_timestamp_seconds") == 0
    assert value("allocation_oldest_transaction_seconds") == 9
    assert value("allocation_parked_commands", {"state": "poisoned"}) == 1
    assert value("allocation_parked_oldest_age_seconds", {"state": "poisoned"}) == 7
    assert value("allocation_ready", {"check": "circuit"}) == 0
    del found[:2]
    assert value("allocation_consumer_lag_messages", PLACE) == 0
    assert value("allocation_consumer_lag_seconds", PLACE) == 0


def test_who_is_away_leaves_a_gap_and_nothing_else(registry: prometheus_client.CollectorRegistry) -> None:
    registry.register(looking.Figures(look=lambda: looking.Found({}, None, [PARTITION])))
    assert registry.get_sample_value("allocation_outbox_rows") is None
    assert registry.get_sample_value("allocation_consumer_lag_messages", PLACE) is None
    assert b"allocation_ready" in prometheus_client.generate_latest(registry)
