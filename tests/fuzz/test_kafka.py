"""What only Kafka itself can bring: odd headers, the largest messages; from topic to dead letter, with all parts."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation import bootstrap
from allocation.adapters.kafka import clients, log_reader
from tests import waiting
from tests.fuzz import raw_producer
from tests.integration import settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation import config
    from allocation.service_layer import messages

# A topic takes a batch of 1 MiB with its overhead: that of the record, its headers, and the batch itself.
LARGEST_KEY = 1_048_588 - 150
BATCH = ("CreateBatch", {"ref": "b1", "sku": "LAMP", "qty": 10, "eta": None}, "batch")
LINE = ("Allocate", {"orderid": "o1", "sku": "LAMP", "qty": 1}, "line")

# Code that has run this often is hot, and the interpreter takes its short cuts.
ORDINARY = 100

Given = tuple[bytes | None, bytes | None, "Sequence[tuple[str, bytes | None]]"]
ODD: dict[str, Given] = {
    "the largest key": (b"k" * LARGEST_KEY, b"x", ()),
    "the largest value": (b"k", b"x" * LARGEST_KEY, ()),
    "a header as large as can be": (b"k", b"x", [("large", b"\xff" * (LARGEST_KEY - 50))]),
    "thousands of headers": (b"k", b"x", [(f"n{number}", b"") for number in range(20_000)]),
    "a header without name": (b"k", b"x", [("", b"v")]),
    "headers without value": (b"k", b"x", [("ce_id", None), ("ce_source", None), ("n", None)]),
    "the same header again and again": (b"k", b"x", [("ce_id", b"1")] * 100),
    "nothing at all": (None, None, ()),
    "an empty key and value": (b"", b"", ()),
}


def send_odd_ones(settings: config.Settings) -> list[tuple[str, int, int]]:
    """Send them to one partition each, as a client would that limits nothing; return where they lie."""
    places: list[tuple[str, int, int]] = []

    def note(error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        assert error is None, error
        places.append((message.topic() or "", message.partition() or 0, message.offset() or 0))

    producer = confluent_kafka.Producer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "message.max.bytes": 2_000_000}
    )
    topic = bootstrap.topic_names(settings).allocate
    for number, (key, value, headers) in enumerate(ODD.values()):
        partition = number % settings.partitions
        producer.produce(topic, value, key, partition, headers=list(headers), on_delivery=note)
        assert producer.flush(30) == 0
    return places


@contextlib.contextmanager
def served(settings: config.Settings, *, seen: int) -> Iterator[None]:
    """Run worker and relay over what was sent, and a good line after it."""
    settled.send(settings, [BATCH, LINE])
    with settled.running(settings):
        settled.wait_until_settled(settings, seen=seen + 2)
        yield


def dead_letters(settings: config.Settings, *, count: int) -> dict[tuple[str, int, int], messages.Record]:
    """Return the dead letters by the places that they name; a transaction shows some moments after it is committed."""
    reader = log_reader.LogReader(clients.ClientConfig(settings.kafka_bootstrap_servers))
    read = functools.partial(reader.read, [bootstrap.topic_names(settings).dead_letter])
    waiting.wait_until(lambda: len(list(read())) >= count, deadline_s=settled.DEADLINE_S)
    found: dict[tuple[str, int, int], messages.Record] = {}
    for record in read():
        added: dict[str, Any] = dict(record.headers)
        topic, partition, offset = (added[f"dead_letter_{name}"].decode() for name in ("topic", "partition", "offset"))
        at = (topic, int(partition), int(offset))
        assert at not in found
        found[at] = record
    return found


def reason(letter: messages.Record) -> str:
    return (dict(letter.headers)["dead_letter_reason"] or b"").decode()


def await_line(settings: config.Settings) -> None:
    """Wait until the good line is announced."""
    reader = log_reader.LogReader(clients.ClientConfig(settings.kafka_bootstrap_servers))
    read = functools.partial(reader.read, [bootstrap.topic_names(settings).line_allocated])
    waiting.wait_until(lambda: len(list(read())) == 1, deadline_s=settled.DEADLINE_S)


def test_the_largest_and_the_oddest_messages_are_dead_letters_just_as_they_came(initialised: config.Settings) -> None:
    places = send_odd_ones(initialised)
    with served(initialised, seen=len(places)):
        letters = dead_letters(initialised, count=len(places))
    assert letters.keys() == set(places)
    for place, (what, (key, value, headers)) in zip(places, ODD.items(), strict=True):
        letter = letters[place]
        assert (letter.key, letter.value, letter.headers[: len(headers)]) == (key, value, tuple(headers)), what
        assert reason(letter) == ("null_value" if value is None else "undecodable"), what
    await_line(initialised)


def test_a_header_whose_name_is_no_text_stops_nobody(initialised: config.Settings) -> None:
    topic = bootstrap.topic_names(initialised).allocate
    for number in range(ORDINARY):
        raw_producer.send(initialised.kafka_bootstrap_servers, topic, b"rubbish", [(b"n", b"%d" % number)], partition=0)
    for name in (b"\xff\xfe", b"ce_id\xc3", b"\xed\xa0\x80"):
        headers = [(b"ce_id", b"1"), (name, b"v")]
        raw_producer.send(initialised.kafka_bootstrap_servers, topic, b"what it was", headers, partition=0)
    with served(initialised, seen=ORDINARY + 3):
        letters = dead_letters(initialised, count=ORDINARY + 3)
    assert letters.keys() == {(topic, 0, offset) for offset in range(ORDINARY + 3)}
    for offset in range(ORDINARY, ORDINARY + 3):
        letter = letters[topic, 0, offset]
        assert (letter.value, reason(letter)) == (b"what it was", "invalid")
        assert b"no UTF-8" in (dict(letter.headers)["dead_letter_error"] or b"")
    await_line(initialised)


def test_what_was_too_large_but_for_its_compression_is_cut_and_stops_neither_its_sku_nor_its_partition(
    initialised: config.Settings,
) -> None:
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": initialised.kafka_bootstrap_servers,
            "compression.type": "gzip",
            "message.max.bytes": 100_000_000,
        }
    )
    topic = bootstrap.topic_names(initialised).create_batch
    for size in (1_100_000, 20_000_000):
        producer.produce(topic, b"v" * size, b"LAMP")
        producer.produce(topic, b"value", b"LAMP", headers=[("large", b"\0" * size)])
        producer.produce(topic, b"value", b"k" * size, partition=0)
    assert producer.flush(30) == 0
    with served(initialised, seen=6):
        letters = dead_letters(initialised, count=6)
    assert [reason(letter) for letter in letters.values()] == ["too_large"] * 6
    await_line(initialised)
