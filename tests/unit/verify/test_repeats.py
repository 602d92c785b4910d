"""What at_least_once sends a second time is counted, and is a finding only where it may not be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from allocation.service_layer import messages

if TYPE_CHECKING:
    from tests.unit.verify import world as builders

TOPICS = ("line_allocated", "allocation.dead_letter", "allocation.journal")


@pytest.fixture
def repeated(world: builders.World) -> builders.World:
    """A world where the first message of each topic is there again."""
    world.refused(world.sent_fields("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 0}))
    for topic in TOPICS:
        record = world.topics[topic][0]
        world.append(messages.OutboxMessage(record.topic, record.key, record.value, record.headers))
    return world


def last_sent_at(world: builders.World) -> datetime:
    return datetime.fromtimestamp(max(world.topics[topic][-1].timestamp_ms for topic in TOPICS) / 1000, UTC)


def test_repeats_of_at_least_once_are_counted_and_are_no_findings(repeated: builders.World) -> None:
    repeated.repeats_until = last_sent_at(repeated)
    report = repeated.verify()
    assert report.findings == []
    assert report.notes["messages that are on their topics again, sent while delivery was at_least_once"] == 3


def test_repeats_that_were_sent_after_it_are_findings(repeated: builders.World) -> None:
    repeated.repeats_until = last_sent_at(repeated) - timedelta(hours=1)
    assert len(repeated.findings()) == 3


def test_a_second_dead_letter_that_says_something_else_is_no_repeat(repeated: builders.World) -> None:
    repeated.repeats_until = last_sent_at(repeated)
    log = repeated.topics["allocation.dead_letter"]
    log[1] = log[1]._replace(value=b"else")
    (text,) = repeated.findings()
    assert "is a dead letter twice" in text
