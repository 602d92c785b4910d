from __future__ import annotations

import datetime

import pytest

from allocation.service_layer import envelopes, messages, reading, topics
from allocation.service_layer.operations import dead_letter_desk, dead_letters
from tests import builders
from tests.fakes import serde

NAMES = topics.TopicNames("here.")
COMMAND_TOPICS = tuple(NAMES.commands.values())
ENVELOPES = envelopes.Envelopes(topics=NAMES, serializer=serde.FakeSerde())
READER = reading.MessageReader(topics=NAMES, deserializer=serde.FakeSerde())
VALUE = serde.FakeSerde().serialize("Allocate", {"orderid": "o1", "sku": "LAMP", "qty": 1})


def refused(
    *, headers: messages.Headers = (), reason: str = "invalid_sku", topic: str = "here.allocate"
) -> messages.Record:
    """What lies on the dead-letter topic once a record with these headers was refused."""
    record = builders.a_record(VALUE, topic=topic, partition=2, offset=7, headers=headers, topic_id="the-topic")
    message = READER.read(record) if topic in COMMAND_TOPICS else builders.a_message(_unreadable(), record=record)
    letter = ENVELOPES.dead_letter(
        message, reason=reason, error="Invalid sku LAMP", error_class="InvalidSku", stack="abc", time=builders.NOW
    )
    return builders.a_record(letter.value, topic=letter.topic, partition=3, offset=17, headers=letter.headers)


def _unreadable() -> messages.Unreadable:
    return messages.Unreadable("invalid", "no")


def again(record: messages.Record) -> messages.OutboxMessage:
    return dead_letters.redriven(dead_letters.read(record), command_topics=COMMAND_TOPICS)


def taken(outgoing: messages.OutboxMessage) -> messages.Message:
    """The message as the worker reads it from its topic, at another place than the first one."""
    return READER.read(
        builders.a_record(
            outgoing.value, topic=outgoing.topic, key=outgoing.key, headers=outgoing.headers, topic_id="the-topic"
        )
    )


def test_a_dead_letter_says_what_was_refused_and_why() -> None:
    letter = dead_letters.read(refused())
    assert letter.place == dead_letters.Place(3, 17)
    assert letter.origin == dead_letters.Origin("here.allocate", "the-topic", 2, 7)
    assert (letter.reason, letter.error, letter.error_class) == ("invalid_sku", "Invalid sku LAMP", "InvalidSku")
    assert (letter.attempt, letter.time, letter.key, letter.stack) == (1, builders.NOW, "LAMP", "abc")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("dead_letter_topic", b"here.allocate"),),
        (("dead_letter_topic", None), ("dead_letter_partition", b"9" * 5000), ("dead_letter_offset", b"\xff")),
        (("dead_letter_attempt", b"-"), ("dead_letter_time", b"yesterday")),
    ],
)
def test_a_record_that_is_no_dead_letter_is_shown_and_not_redriven(headers: messages.Headers) -> None:
    letter = dead_letters.read(builders.a_record(None, key=None, headers=headers))
    assert (letter.origin, letter.attempt, letter.key) == (None, 1, None)
    assert letter.time == datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=12)
    with pytest.raises(dead_letters.CannotRedrive, match="which topic"):
        dead_letters.redriven(letter, command_topics=COMMAND_TOPICS)


def test_a_redriven_command_is_the_next_attempt_of_the_same_one() -> None:
    original = (("ce_id", b"c1"), ("ce_source", b"shop"), ("traceparent", b"00-x"), ("mine", None))
    outgoing = again(refused(headers=original))
    assert (outgoing.topic, outgoing.key, outgoing.value) == ("here.allocate", b"LAMP", VALUE)
    assert outgoing.headers == (*original, ("allocation_attempt", b"2"))
    message = taken(outgoing)
    assert (message.id, message.attempt) == (messages.MessageId("shop", "c1"), 2)
    assert message.digest == reading.digest("here.allocate", VALUE)


def test_a_command_without_an_id_is_told_by_the_place_that_it_had_at_first() -> None:
    for headers in ((), (("ce_source", b"shop"), ("ce_id", b""))):
        message = taken(again(refused(headers=headers)))
        assert (message.id, message.attempt) == (messages.MessageId("kafka", "the-topic/2/7"), 2)


def test_what_was_refused_again_is_the_attempt_after_that() -> None:
    second = taken(again(refused()))
    letter = ENVELOPES.dead_letter(second, reason="invalid_sku", error="")
    third = taken(again(builders.a_record(letter.value, headers=letter.headers)))
    assert (third.id, third.attempt) == (second.id, 3)
    assert [name for name, _ in third.record.headers].count("allocation_attempt") == 1


def test_the_same_dead_letter_gives_the_same_message() -> None:
    assert again(refused()) == again(refused())


def test_an_attempt_that_is_no_number_is_mended_by_the_next() -> None:
    headers = (("ce_id", b"c1"), ("allocation_attempt", b"first"))
    assert taken(again(refused(headers=headers))).attempt == 2


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (refused(topic="redis:here.allocate"), "Redis channel here.allocate"),
        (refused(topic="there.allocate"), "there.allocate is no command topic"),
        (refused(reason="id_reused", headers=(("ce_id", b"c1"),)), "belongs to another command"),
        (refused(headers=(("ce_id", b"c" * 256),)), "too long"),
        (refused(headers=(("ce_id", b"c\0"),)), "no text"),
    ],
)
def test_what_would_not_get_anywhere_is_not_redriven(record: messages.Record, why: str) -> None:
    with pytest.raises(dead_letters.CannotRedrive, match=why):
        again(record)


def test_a_command_without_any_identity_is_not_redriven() -> None:
    record = refused()
    headers = tuple(header for header in record.headers if header[0] != "dead_letter_topic_id")
    with pytest.raises(dead_letters.CannotRedrive, match="has no id"):
        again(record._replace(headers=headers))


def test_a_filter_lets_pass_what_fits_all_that_it_names() -> None:
    letter = dead_letters.read(refused())
    later = builders.NOW + datetime.timedelta(seconds=1)
    for fits in (
        dead_letters.Filter(),
        dead_letters.Filter(reasons={"conflict", "invalid_sku"}, topics={"here.allocate"}, keys={"LAMP"}),
        dead_letters.Filter(stacks={"abc"}),
        dead_letters.Filter(places={dead_letters.Place(3, 17)}, since=builders.NOW, until=later),
    ):
        assert fits.matches(letter)
    for other in (
        dead_letters.Filter(reasons={"conflict"}),
        dead_letters.Filter(topics={"allocate"}),
        dead_letters.Filter(stacks={"abcd"}),
        dead_letters.Filter(keys={"LAMPS"}, reasons={"invalid_sku"}),
        dead_letters.Filter(places={dead_letters.Place(17, 3)}),
        dead_letters.Filter(since=later),
        dead_letters.Filter(until=builders.NOW),
    ):
        assert not other.matches(letter)


def test_with_a_limit_the_oldest_are_chosen_each_partition_in_its_order() -> None:
    def found(partition: int, offset: int, second: int) -> dead_letter_desk.Found:
        record = refused()._replace(partition=partition, offset=offset)
        time = (builders.NOW + datetime.timedelta(seconds=second)).isoformat().encode()
        headers = tuple((name, time if name == "dead_letter_time" else value) for name, value in record.headers)
        return dead_letter_desk.Found(dead_letters.read(record._replace(headers=headers)), None)

    all_found = [found(1, 0, 2), found(1, 1, 1), found(0, 0, 3), found(0, 1, 9)]
    places = [str(one.letter.place) for one in dead_letter_desk.choose(all_found, limit=3)]
    assert places == ["0:0", "1:0", "1:1"]
    assert list(dead_letter_desk.choose(all_found, limit=None)) == all_found
