from __future__ import annotations

import datetime
import re
import uuid

import pytest
from cloudevents.core.bindings import kafka as cloudevents_kafka
from cloudevents.core.formats.json import JSONFormat

from allocation.domain import commands
from allocation.service_layer import envelopes, external_events, messages, topics
from tests import builders
from tests.fakes import serde

VALUES = serde.FakeSerde()
ALLOCATED = external_events.LineAllocated("o1", "LAMP", 3, "b1")
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-00"


def wrap(prefix: str = "") -> envelopes.Envelopes:
    return envelopes.Envelopes(topics=topics.TopicNames(prefix), serializer=VALUES)


def a_cause(
    *,
    source: str = "shop",
    id: str = "17",  # noqa: A002 - CloudEvents' word
    attempt: int = 1,
    traceparent: bytes | None = None,
) -> envelopes.Cause:
    record = builders.a_record(headers=(("traceparent", traceparent),))
    message = builders.a_message(builders.an_allocate(), source=source, id=id, attempt=attempt, record=record)
    return envelopes.Cause(message=message, time=builders.NOW)


def an_event(cause: envelopes.Cause, *, ordinal: int = 0, sequence: int = 1) -> messages.OutboxMessage:
    return wrap().event(ALLOCATED, cause=cause, ordinal=ordinal, sequence=sequence)


def headers(outgoing: messages.OutboxMessage) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in outgoing.headers}


def as_cloudevent(outgoing: messages.OutboxMessage) -> dict[str, object]:
    given = {name: value or b"" for name, value in outgoing.headers}
    event = cloudevents_kafka.from_binary(
        cloudevents_kafka.KafkaMessage(headers=given, key=outgoing.key, value=outgoing.value or b""), JSONFormat()
    )
    return event.get_attributes()


@pytest.mark.parametrize(
    ("command", "topic", "key", "fields"),
    [
        (
            commands.CreateBatch("b1", "LAMP", 3, builders.TODAY),
            "create_batch", b"LAMP", {"ref": "b1", "sku": "LAMP", "qty": 3, "eta": builders.TODAY},
        ),
        (commands.Allocate("o1", "LAMP", 3), "allocate", b"LAMP", {"orderid": "o1", "sku": "LAMP", "qty": 3}),
        (
            commands.ChangeBatchQuantity("b1", 3, "LAMP"),
            "change_batch_quantity", b"LAMP", {"batchref": "b1", "qty": 3, "sku": "LAMP"},
        ),
        (
            commands.ChangeBatchQuantity("b1", 3),
            "change_batch_quantity", b"b1", {"batchref": "b1", "qty": 3, "sku": None},
        ),
    ],
)  # fmt: skip
def test_a_command_goes_to_its_topic_keyed_by_sku_or_else_by_reference(
    command: commands.Command, topic: str, key: bytes, fields: dict[str, object]
) -> None:
    outgoing = wrap("here.").command(command, id=messages.MessageId("shop", "17"), time=builders.NOW)
    name = type(command).__name__
    assert (outgoing.topic, outgoing.key) == (f"here.{topic}", key)
    assert outgoing.value is not None
    assert VALUES.deserialize(name, outgoing.value) == fields


def test_a_command_is_a_cloudevent() -> None:
    outgoing = wrap().command(builders.an_allocate(), id=messages.MessageId("shop", "17"), time=builders.NOW)
    event = as_cloudevent(outgoing)
    assert (event["id"], event["source"], event["type"]) == ("17", "shop", "allocation.Allocate")
    assert event["time"] == builders.NOW
    assert "allocation_no_grace" not in headers(outgoing)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers(outgoing)["traceparent"])


def test_a_command_may_waive_the_grace_time_and_go_on_with_a_trace() -> None:
    outgoing = wrap().command(
        builders.an_allocate(),
        id=messages.MessageId("shop", "17"),
        time=builders.NOW,
        no_grace=True,
        traceparent=TRACEPARENT,
    )
    assert headers(outgoing)["allocation_no_grace"] == "1"
    assert headers(outgoing)["traceparent"] == TRACEPARENT


@pytest.mark.parametrize(
    ("event", "topic"),
    [
        (ALLOCATED, "line_allocated"),
        (external_events.LineDeallocated("o1", "LAMP", 3, "b1"), "line_deallocated"),
        (external_events.OutOfStock("LAMP", "o1", 3), "out_of_stock"),
    ],
)
def test_an_event_goes_to_its_topic_keyed_by_sku(event: external_events.ExternalEvent, topic: str) -> None:
    outgoing = wrap("here.").event(event, cause=a_cause(), ordinal=0, sequence=1)
    assert (outgoing.topic, outgoing.key, outgoing.sku) == (f"here.{topic}", b"LAMP", "LAMP")
    assert outgoing.value is not None
    assert VALUES.deserialize(type(event).__name__, outgoing.value)["orderid"] == "o1"


def test_an_event_is_a_cloudevent_that_names_its_cause_and_its_place() -> None:
    event = as_cloudevent(an_event(a_cause(id="17"), sequence=12))
    assert (event["source"], event["type"]) == ("allocation", "allocation.LineAllocated")
    assert (event["causationid"], event["sequence"]) == ("17", "12")
    assert event["time"] == builders.NOW
    assert uuid.UUID(str(event["id"])).version == 5


def test_the_time_has_the_form_of_rfc_3339() -> None:
    time = datetime.datetime(2030, 1, 1, 12, 30, 15, 123_999, tzinfo=datetime.UTC)
    outgoing = wrap().command(builders.an_allocate(), id=messages.MessageId("shop", "17"), time=time)
    assert headers(outgoing)["ce_time"] == "2030-01-01T12:30:15.123Z"


def test_the_same_cause_gives_the_same_event_to_the_byte() -> None:
    assert an_event(a_cause(id="17")) == an_event(a_cause(id="17"))
    assert headers(an_event(a_cause(source="shop", id="17")))["ce_id"] == "7dae3328-bd33-5347-88d6-78388e213719"


def test_other_causes_give_other_ids() -> None:
    causes = [
        a_cause(),
        a_cause(id="18"),
        a_cause(source="market"),
        a_cause(attempt=2),
        a_cause(source="shop\n17", id="1"),
        a_cause(source="shop", id="17\n1"),
        a_cause(source="shop\n17\n1", id="1"),
        a_cause(source="", id="shop\n17"),
    ]
    ids = [headers(an_event(cause, ordinal=ordinal))["ce_id"] for cause in causes for ordinal in (0, 1, 11)]
    assert len(set(ids)) == len(ids)


def test_an_event_goes_on_with_the_trace_of_its_command_in_a_span_of_its_own() -> None:
    cause = a_cause(traceparent=TRACEPARENT.encode())
    first, second = (headers(an_event(cause, ordinal=ordinal))["traceparent"].split("-") for ordinal in (0, 1))
    assert (first[0], first[1], first[3]) == ("00", TRACE, "00")
    assert len({first[2], second[2], "b7ad6b7169203331"}) == 3


def test_of_a_later_version_of_a_trace_what_is_known_is_kept() -> None:
    cause = a_cause(traceparent=f"cc-{TRACE}-b7ad6b7169203331-01-what-the-future-will-be".encode())
    assert headers(an_event(cause))["traceparent"].startswith(f"00-{TRACE}-")


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"nonsense",
        b"a-b-c-d",
        f"ff-{TRACE}-b7ad6b7169203331-01".encode(),
        f"00-{'0' * 32}-b7ad6b7169203331-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-b7ad6b7169203331-01".encode(),
        f"00-{'z' * 32}-b7ad6b7169203331-01".encode(),
        b"00-" + b"\xff" * 32 + b"-b7ad6b7169203331-01",
    ],
)
def test_without_a_trace_one_begins_that_follows_from_the_command(given: bytes | None) -> None:
    found = headers(an_event(a_cause(traceparent=given)))["traceparent"]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", found)
    assert found == headers(an_event(a_cause(traceparent=given)))["traceparent"]
    assert found.split("-")[1] != headers(an_event(a_cause(id="18", traceparent=given)))["traceparent"].split("-")[1]


def test_a_dead_letter_keeps_all_that_came_and_says_why() -> None:
    original = (("ce_id", b"17"), ("mine", None), ("mine", b"\xff\0"), ("mine", b"\xff\0"), ("ce_id", b"18"))
    record = builders.a_record(b"\0bytes\xff", topic="allocate", partition=3, offset=14, key=b"\xfe", headers=original)
    message = builders.a_message(messages.Unreadable("undecodable", "no"), attempt=2, record=record)
    outgoing = wrap("here.").dead_letter(message, reason="undecodable", error="nö \ud800")
    assert (outgoing.topic, outgoing.key, outgoing.value) == ("here.allocation.dead_letter", b"\xfe", b"\0bytes\xff")
    assert outgoing.headers[: len(original)] == original
    assert dict(outgoing.headers[len(original) :]).items() >= {
        ("dead_letter_reason", b"undecodable"),
        ("dead_letter_error", "nö \\ud800".encode()),
        ("dead_letter_topic", b"allocate"),
        ("dead_letter_partition", b"3"),
        ("dead_letter_offset", b"14"),
        ("dead_letter_attempt", b"2"),
    }
    assert outgoing.sku is None


def test_null_stays_null_in_a_dead_letter() -> None:
    message = builders.a_message(messages.Unreadable("null_value", "no"), record=builders.a_record(None, key=None))
    outgoing = wrap().dead_letter(message, reason="null_value", error="no")
    assert (outgoing.key, outgoing.value) == (None, None)


def test_a_dead_letter_of_a_readable_command_keeps_the_order_of_its_sku() -> None:
    outgoing = wrap().dead_letter(builders.a_message(builders.an_allocate(sku="VASE")), reason="invalid_sku", error="")
    assert outgoing.sku == "VASE"


def test_a_dead_letter_that_fails_again_says_only_its_latest_reason() -> None:
    old = (("dead_letter_reason", b"old"), ("mine", b"1"), ("dead_letter_attempt", b"1"))
    message = builders.a_message(builders.an_allocate(), attempt=2, record=builders.a_record(headers=old))
    given = wrap().dead_letter(message, reason="conflict", error="no").headers
    assert [value for name, value in given if name == "dead_letter_reason"] == [b"conflict"]
    assert ("mine", b"1") in given
