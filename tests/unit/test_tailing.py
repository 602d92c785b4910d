from __future__ import annotations

from typing import Any

import pytest

from allocation.adapters.avro import serde as avro
from allocation.service_layer import envelopes, external_events, messages, topics
from allocation.service_layer.operations import tailing
from tests import builders

NAMES = topics.TopicNames("shop.")
SERDE = avro.AvroSerde(ids={"Allocate": 2, "LineAllocated": 4}, lookup=dict[int, str]().__getitem__)
ENVELOPES = envelopes.Envelopes(topics=NAMES, serializer=SERDE)
COMMAND = builders.an_allocate(sku="LAMP", qty=3, orderid="o1")


def lying_in_kafka(message: messages.OutboxMessage) -> messages.Record:
    return builders.a_record(message.value, topic=message.topic, key=message.key, headers=message.headers, offset=7)


def line(record: messages.Record) -> dict[str, Any]:
    return tailing.Decoder(topics=NAMES, deserializer=SERDE).line(record)


def the_command() -> messages.OutboxMessage:
    return ENVELOPES.command(COMMAND, id=messages.MessageId("a shop", "id-1"), time=builders.NOW)


def test_an_event_is_shown_with_its_place_and_its_cause() -> None:
    event = external_events.LineAllocated("o1", "LAMP", 3, "b1")
    cause = envelopes.Cause(message=builders.a_message(COMMAND, id="cause"), time=builders.NOW)
    message = ENVELOPES.event(event, cause=cause, ordinal=0, sequence=12)
    shown = line(lying_in_kafka(message))
    assert shown.pop("id") == dict(message.headers)[messages.CE_ID].decode()  # type: ignore[union-attr]
    assert shown == {
        "topic": "shop.line_allocated",
        "partition": 0,
        "offset": 7,
        "time": "2030-01-01T12:00:00.000Z",
        "key": "LAMP",
        "source": "allocation",
        "sequence": 12,
        "causationid": "cause",
        "value": {"orderid": "o1", "sku": "LAMP", "qty": 3, "batchref": "b1"},
    }


def test_a_command_without_headers_is_shown_with_the_time_of_its_record() -> None:
    shown = line(builders.a_record(the_command().value, topic=NAMES.allocate))
    assert shown["value"] == {"orderid": "o1", "sku": "LAMP", "qty": 3}
    assert shown["time"] == "2030-01-01T12:00:00.000Z"
    assert shown["id"] is shown["source"] is shown["sequence"] is shown["causationid"] is None


def test_a_dead_letter_is_shown_with_its_headers_and_decoded_as_what_it_was() -> None:
    refused = lying_in_kafka(the_command())
    letter = ENVELOPES.dead_letter(
        builders.a_message(COMMAND, record=refused), reason="invalid_sku", error="Invalid sku LAMP"
    )
    shown = line(lying_in_kafka(letter))
    assert shown["topic"] == "shop.allocation.dead_letter"
    assert shown["id"] == "id-1"
    assert shown["value"] == {"orderid": "o1", "sku": "LAMP", "qty": 3}
    assert shown["headers"]["dead_letter_reason"] == "invalid_sku"
    assert shown["headers"]["dead_letter_error"] == "Invalid sku LAMP"
    assert shown["headers"]["dead_letter_offset"] == "7"


@pytest.mark.parametrize("topic", [NAMES.allocate, NAMES.line_allocated, NAMES.dead_letter, NAMES.journal])
def test_bytes_that_mean_nothing_are_shown_in_base64_with_the_reason(topic: str) -> None:
    shown = line(builders.a_record(b"\xff\xfe", topic=topic))
    assert shown["value"] is None
    assert shown["value_base64"] == "//4="
    assert shown["error"]


def test_a_null_is_shown_as_one() -> None:
    shown = line(builders.a_record(None, topic=NAMES.allocate, key=None))
    assert shown["value"] is shown["key"] is None
    assert "error" not in shown


def test_keys_and_headers_that_are_no_text_are_escaped() -> None:
    record = builders.a_record(
        None,
        topic=NAMES.allocate,
        key=b"\xff",
        headers=((messages.CE_ID, b"\xfe"), (messages.CE_SEQUENCE, b"many")),
    )
    shown = line(record)
    assert (shown["key"], shown["id"], shown["sequence"]) == ("\\xff", "\\xfe", "many")


def test_json_on_other_topics_is_shown_as_it_is() -> None:
    assert line(builders.a_record(b'{"number": 1}', topic=NAMES.journal))["value"] == {"number": 1}


@pytest.mark.parametrize(
    ("given", "topic"),
    [
        ("line_allocated", "shop.line_allocated"),
        ("shop.line_allocated", "shop.line_allocated"),
        ("dead_letter", "shop.allocation.dead_letter"),
        ("allocation.dead_letter", "shop.allocation.dead_letter"),
        ("journal", "shop.allocation.journal"),
    ],
)
def test_topics_go_by_short_and_full_names(given: str, topic: str) -> None:
    assert tailing.known_topics(NAMES)[given] == topic
