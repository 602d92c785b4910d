"""What is copied to another cluster keeps its identity, though its topic has another id there."""

from __future__ import annotations

from allocation.service_layer import messages, reading
from allocation.service_layer.operations import moving

HERE, THERE = "topic-here", "topic-there"


def a_record(*headers: tuple[str, bytes | None], topic_id: str = HERE) -> messages.Record:
    return messages.Record("allocate", topic_id, 2, 17, 0, b"LAMP", b"value", headers, 0)


def a_dead_letter(*headers: tuple[str, bytes | None]) -> messages.Record:
    own = (("dead_letter_topic_id", HERE.encode()), ("dead_letter_partition", b"2"), ("dead_letter_offset", b"17"))
    return a_record(*headers, *own, topic_id="dead-letters")


def test_a_command_without_an_id_is_given_its_old_place_as_one() -> None:
    assert moving.command(a_record(("traceparent", b"00"))).headers == (
        ("traceparent", b"00"), ("ce_id", b"topic-here/2/17"), ("ce_source", b"kafka"),
    )  # fmt: skip
    assert reading.place_as_identity(HERE, 2, 17) == messages.MessageId("kafka", "topic-here/2/17")


def test_a_command_with_an_id_is_copied_as_it_is() -> None:
    record = a_record(("ce_id", b"order-1"), ("ce_source", b"shop"))
    assert moving.command(record) == record


def test_a_command_whose_headers_cannot_be_read_is_copied_as_it_is() -> None:
    record = a_record((messages.UNREADABLE_HEADERS, b"a name is no UTF-8"))
    assert moving.command(record) == record


def test_a_dead_letter_is_named_as_its_command_is_and_points_to_the_new_topic() -> None:
    moved = moving.dead_letter(a_dead_letter(), {HERE: THERE})
    assert dict(moved.headers)["dead_letter_topic_id"] == THERE.encode()
    kept = tuple(header for header in moved.headers if not header[0].startswith("dead_letter_"))
    assert kept == moving.command(a_record()).headers


def test_a_dead_letter_of_something_else_than_a_command_is_copied_as_it_is() -> None:
    record = a_record(("dead_letter_topic", b"redis:allocate"))
    assert moving.dead_letter(record, {HERE: THERE}) == record
