from __future__ import annotations

import datetime

import pytest

from allocation.domain import commands
from allocation.service_layer import messages, ports, reading, topics
from tests import builders
from tests.fakes import serde

VALUES = serde.FakeSerde()
ALLOCATE = VALUES.serialize("Allocate", {"orderid": "o1", "sku": "LAMP", "qty": 3})


def reader(values: serde.FakeSerde = VALUES, prefix: str = "") -> reading.MessageReader:
    return reading.MessageReader(topics=topics.TopicNames(prefix), deserializer=values)


def read(value: bytes | None = ALLOCATE, *, topic: str = "allocate", **headers: bytes | None) -> messages.Message:
    return reader().read(builders.a_record(value, topic=topic, headers=tuple(headers.items())))


@pytest.mark.parametrize(
    ("topic", "fields", "command"),
    [
        ("allocate", {"orderid": "o1", "sku": "LAMP", "qty": 3}, commands.Allocate("o1", "LAMP", 3)),
        (
            "create_batch",
            {"ref": "b1", "sku": "LAMP", "qty": 3, "eta": builders.TODAY},
            commands.CreateBatch("b1", "LAMP", 3, builders.TODAY),
        ),
        (
            "change_batch_quantity",
            {"batchref": "b1", "qty": 0, "sku": None},
            commands.ChangeBatchQuantity("b1", 0),
        ),
        (
            "change_batch_quantity",
            {"batchref": "b1", "qty": 1, "sku": "LAMP"},
            commands.ChangeBatchQuantity("b1", 1, "LAMP"),
        ),
    ],
)
def test_each_topic_holds_its_command(topic: str, fields: dict[str, object], command: commands.Command) -> None:
    value = VALUES.serialize(type(command).__name__, fields)
    assert read(value, topic=topic).command == command
    prefixed = reader(prefix="here.").read(builders.a_record(value, topic=f"here.{topic}"))
    assert prefixed.command == command


def test_without_headers_a_message_is_identified_by_where_it_lies() -> None:
    record = builders.a_record(ALLOCATE, topic_id="the topic's id", partition=3, offset=14)
    message = reader().read(record)
    assert (message.id, message.attempt) == (("kafka", "the topic's id/3/14"), 1)


@pytest.mark.parametrize("own", [None, b""])
def test_an_empty_id_is_none(own: bytes | None) -> None:
    assert read(ce_id=own, ce_source=b"shop").id.source == "kafka"


def test_with_headers_a_message_is_identified_by_source_and_id() -> None:
    message = read(ce_source=b"shop", ce_id="bestellung-ä".encode(), allocation_attempt=b"2")
    assert (message.id, message.attempt) == (("shop", "bestellung-ä"), 2)


@pytest.mark.parametrize("source", [None, b""])
def test_a_source_that_is_not_given_is_the_empty_one(source: bytes | None) -> None:
    assert read(ce_source=source, ce_id=b"17").id == ("", "17")
    assert read(ce_id=b"17").id == ("", "17")


def test_of_headers_of_the_same_name_the_last_counts() -> None:
    record = builders.a_record(ALLOCATE, headers=(("ce_id", b"first"), ("ce_id", b"last")))
    assert reader().read(record).id.id == "last"


@pytest.mark.parametrize("name", ["ce_id", "ce_source"])
@pytest.mark.parametrize(
    ("value", "flaw"), [(b"a\0b", "must not hold a NUL character"), (b"a\xff", "must be UTF-8")], ids=["NUL", "bytes"]
)
def test_an_id_that_is_no_text_that_can_be_stored_is_refused(name: str, value: bytes, flaw: str) -> None:
    message = reader().read(builders.a_record(ALLOCATE, headers=(("ce_id", b"17"), (name, value)), offset=4))
    assert message.command == messages.Unreadable("invalid", f"header {name} is {value!r}; it {flaw}")
    assert message.id == ("kafka", "id of allocate/0/4")


def test_an_id_that_looks_like_an_escape_is_taken_as_it_is() -> None:
    assert read(ce_id=rb"a\0b\xff").id.id == r"a\0b\xff"


@pytest.mark.parametrize("name", ["ce_id", "ce_source"])
def test_an_id_that_is_too_long_is_refused(name: str) -> None:
    def read_one(value: bytes) -> messages.Message:
        return reader().read(builders.a_record(ALLOCATE, headers=(("ce_id", b"17"), (name, value))))

    assert isinstance(read_one(b"x" * 255).command, commands.Allocate)
    message = read_one(b"x" * 256)
    assert message.command == messages.Unreadable("invalid", f"header {name} is 256 bytes long; at most 255")
    assert message.id.source == "kafka"


@pytest.mark.parametrize("attempt", [b"0", b"-1", b"two", b"1.0", b"\xff", b"1234567890", "²".encode()])
def test_an_attempt_that_is_no_number_is_refused(attempt: bytes) -> None:
    message = read(ce_id=b"17", allocation_attempt=attempt)
    assert isinstance(message.command, messages.Unreadable)
    assert message.command.reason == "invalid"
    assert f"{attempt!r}; it must be a number from 1" in message.command.error
    assert message.id.source == "kafka"


@pytest.mark.parametrize("attempt", [None, b""])
def test_an_attempt_that_is_not_given_is_the_first(attempt: bytes | None) -> None:
    assert read(ce_id=b"17", allocation_attempt=attempt).attempt == 1


RECORDED = datetime.datetime(2030, 1, 2, 12, tzinfo=datetime.UTC)


def sent_before_s(*headers: tuple[str, bytes | None]) -> float:
    """Return how long before its record a command was sent, by these headers."""
    recorded_ms = int(RECORDED.timestamp() * 1000)
    record = builders.a_record(headers=headers)._replace(timestamp_ms=recorded_ms)
    return (recorded_ms - reading.sent_ms(record)) / 1000


@pytest.mark.parametrize(
    ("ce_time", "before_s"),
    [
        (b"2030-01-02T11:59:50Z", 10),
        (b"2030-01-02T12:59:49.500+01:00", 10.5),
        (b"2030-01-02T11:59:50.123456789Z", 9.877),
        (b"2030-01-01T12:00:00Z", 86_400),
        (b"2030-01-02T12:00:00Z", 0),
    ],
)
def test_a_command_was_sent_when_it_says(ce_time: bytes, before_s: float) -> None:
    assert sent_before_s((messages.CE_TIME, ce_time)) == before_s


@pytest.mark.parametrize(
    "ce_time",
    [
        None, b"", b"soon", b"\xff", b"1893585590", b"2030-01-02T11:59:50", b"2030-01-02T12:00:01Z",
        b"2030-01-01T11:59:59Z", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59",
    ],
)  # fmt: skip
def test_or_when_its_record_was_made_if_that_cannot_be(ce_time: bytes | None) -> None:
    assert sent_before_s((messages.CE_TIME, ce_time)) == 0


def test_of_a_later_attempt_the_record_tells_when_it_was_sent() -> None:
    sent = (messages.CE_TIME, b"2030-01-02T11:59:50Z")
    assert [sent_before_s(sent, (messages.ATTEMPT, b"%d" % attempt)) for attempt in (1, 2)] == [10, 0]


def test_a_sender_may_waive_the_grace_time() -> None:
    assert read().waits
    assert not read(allocation_no_grace=b"1").waits


def test_null_is_no_command() -> None:
    assert read(None).command == messages.Unreadable("null_value", "a null on allocate is no command")


def test_what_cannot_be_decoded_keeps_the_word_for_it() -> None:
    command = read(b"not Avro").command
    assert command == messages.Unreadable("undecodable", "b'not Avro' is not in the wire format")


def test_a_command_with_an_impossible_value_is_invalid_and_names_it() -> None:
    command = read(VALUES.serialize("Allocate", {"orderid": "o1", "sku": "LAMP", "qty": -3})).command
    assert isinstance(command, messages.Unreadable)
    assert (command.reason, command.error) == (
        "invalid", "qty is -3; it must be a whole number from 1 to 2147483647",
    )  # fmt: skip


def test_a_registry_that_is_down_is_no_fault_of_the_message() -> None:
    values = serde.FakeSerde()
    values.down = True
    with pytest.raises(ports.DependencyDown):
        reader(values).read(builders.a_record(ALLOCATE))


def test_a_message_may_be_made_of_a_record_that_cannot_be_read() -> None:
    values = serde.FakeSerde()
    values.down = True
    problem = messages.Unreadable("failed", "a bug")
    message = reader(values).unreadable(builders.a_record(ALLOCATE, headers=(("ce_id", b"17"),)), problem)
    assert (message.id.id, message.command) == ("17", problem)


def test_the_schemas_number_is_no_part_of_the_content() -> None:
    assert reading.digest("allocate", b"\0\0\0\0\1body") == reading.digest("allocate", b"\0\0\0\0\2body")


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("create_batch", b"\0\0\0\0\1body"),
        ("allocate", b"\0\0\0\0\1other"),
        ("allocate", b"body"),
        ("allocate", b"\1\0\0\0\1body"),
        ("allocate", b""),
        ("allocate", b"\0"),
        ("allocate", None),
    ],
)
def test_other_content_has_another_digest(topic: str, value: bytes | None) -> None:
    assert reading.digest(topic, value) != reading.digest("allocate", b"\0\0\0\0\1body")


def test_values_out_of_the_wire_format_are_told_apart_from_the_first_byte() -> None:
    values = (None, b"", b"a", b"b", b"abcde", b"abcdf", b"null")
    assert len({reading.digest("allocate", value) for value in values}) == len(values)


@pytest.mark.parametrize(
    "other",
    [
        builders.a_record(b"other", offset=1),
        builders.a_record(b"value", offset=1, key=b"TABLE"),
        builders.a_record(None, offset=1),
        builders.a_record(b"value", offset=1)._replace(timestamp_ms=5),
    ],
)
def test_a_record_is_recognised_by_time_key_and_value(other: messages.Record) -> None:
    record = builders.a_record(b"value", offset=1)
    assert reading.record_digest(record) == reading.record_digest(record._replace(leader_epoch=7))
    assert reading.record_digest(record) != reading.record_digest(other)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k" * 2_000_000, b"v", ()),
        (b"k", b"v" * 2_000_000, ()),
        (b"k", b"v", (("n", b"h" * 2_000_000),)),
        (None, None, tuple(("n" * 100, None) for _ in range(20_000))),
    ],
)
def test_what_is_larger_than_a_topic_takes_is_cut_to_what_a_dead_letter_holds(
    key: bytes | None, value: bytes | None, headers: messages.Headers
) -> None:
    record = builders.a_record(value, key=key, headers=headers, offset=7)
    message = reader().read(record)
    assert isinstance(message.command, messages.Unreadable)
    assert message.command.reason == "too_large"
    assert message.id == ("kafka", "id of allocate/0/7")
    kept = message.record
    assert kept.headers == ()
    assert len(kept.key or b"") + len(kept.value or b"") <= reading.MAX_RECORD_BYTES
    assert (kept.key is None, kept.value is None) == (key is None, value is None)
    assert (key or b"").startswith(kept.key or b"")
    assert (value or b"").startswith(kept.value or b"")
    assert message.digest == reading.digest("allocate", value)
