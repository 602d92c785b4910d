"""The dead letters of a relay that was told of its commit before the markers are written."""

from __future__ import annotations

import contextlib
import functools
from concurrent import futures
from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from allocation.adapters.kafka import dead_letter_log, topics
from allocation.entrypoints.console import operations
from allocation.service_layer import ports
from allocation.service_layer.operations import audit, dead_letters
from tests import kafka_logs, waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from allocation import config, devstack


@pytest.mark.parametrize("places", [(), (dead_letters.Place(0, 0),)], ids=["all", "one place"])
def test_what_is_committed_a_moment_later_is_waited_for(
    endpoints: devstack.Endpoints, places: Collection[dead_letters.Place]
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    log = dead_letter_log.DeadLetterLog(kafka_logs.a_config(endpoints), topic=topic)
    with kafka_logs.a_transactional_producer(endpoints) as relay, futures.ThreadPoolExecutor(1) as pool:
        kafka_logs.write_transaction(relay, topic, b"refused", commit=None)
        reading = pool.submit(lambda: [record.value for record in log.read(places)])
        with pytest.raises(TimeoutError):
            reading.result(0.3)
        relay.commit_transaction()
        assert reading.result(10) == [b"refused"]


def is_planned(shown: operations.LiveOperations) -> bool:
    """Whether a plan is shown; a broker that has just begun knows no group yet."""
    with contextlib.suppress(ports.DependencyDown):
        return bool(shown.plan(None)["lines"])
    return False


def test_no_page_of_the_console_waits_long_for_a_transaction_that_does_not_end(
    initialised: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled, waits = topics.TopicAdmin.settled_watermarks, []

    def noted(
        admin: topics.TopicAdmin, written: Mapping[topics.TopicPartition, int], *, timeout_s: float
    ) -> dict[topics.TopicPartition, topics.Watermarks]:
        waits.append(timeout_s)
        return settled(admin, written, timeout_s=timeout_s)

    monkeypatch.setattr(topics.TopicAdmin, "settled_watermarks", noted)
    with bootstrap.oversight(initialised) as oversight:
        shown = operations.LiveOperations(initialised, oversight)
        shown.dead_letters(only_open=False)
        shown.decide("discard", [dead_letters.Place(0, 0)], audit.Note("jane", "a test"))
        waiting.wait_until(functools.partial(is_planned, shown), deadline_s=30)
        shown.story("order", "o1", None)
    assert len(waits) >= 4
    assert set(waits) == {operations.SETTLE_TIMEOUT_S}
