"""What a null, which compaction calls a tombstone, means on each topic, and which topics are compacted."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocation.adapters.kafka import topic_specs
from allocation.domain import commands
from allocation.service_layer import envelopes, messages, reading, topics
from allocation.service_layer.operations import dead_letters
from tests import builders, installations
from tests.fakes import serde
from tests.unit.verify import world

NAMES = topics.TopicNames()
COMMAND_TOPICS = tuple(NAMES.commands.values())
EVENT_TOPICS = tuple(NAMES.events.values())
RULES = Path(__file__).parents[2] / "schemas/README.md"


def a_null(topic: str, *, key: bytes = b"LAMP") -> messages.Record:
    return builders.a_record(None, topic=topic, key=key)


def test_a_null_on_a_topic_of_commands_deletes_nothing_and_becomes_a_dead_letter() -> None:
    installation = installations.FakeInstallation()
    processor = installations.a_processor(installation.begin)
    wrap = envelopes.Envelopes(topics=NAMES, serializer=serde.FakeSerde())
    given: tuple[commands.Command, ...] = (commands.CreateBatch("b1", "LAMP", 10), commands.Allocate("o1", "LAMP", 3))
    for number, command in enumerate(given):
        sent = wrap.command(command, id=messages.MessageId("shop", f"c{number}"), time=builders.NOW)
        processor.process([builders.a_record(sent.value, topic=sent.topic, headers=sent.headers)])
    before = installation.contents()

    processor.process([a_null(topic, key=key) for topic in COMMAND_TOPICS for key in (b"LAMP", b"b1")])

    after = installation.contents()
    assert (after.products, after.batches) == (before.products, before.batches)
    letters = after.outbox[len(before.outbox) :]
    assert {letter.topic for letter in letters} == {NAMES.dead_letter}
    assert [(letter.key, letter.value) for letter in letters] == [(b"LAMP", None), (b"b1", None)] * 3
    assert {dict(letter.headers)["dead_letter_reason"] for letter in letters} == {b"null_value"}


def test_a_null_among_the_dead_letters_is_a_refused_null_and_stays_one_when_it_is_redriven() -> None:
    reader = reading.MessageReader(topics=NAMES, deserializer=serde.FakeSerde())
    wrap = envelopes.Envelopes(topics=NAMES, serializer=serde.FakeSerde())
    letter = wrap.dead_letter(
        reader.read(a_null(NAMES.allocate)), reason="null_value", error="a null", time=builders.NOW
    )
    found = dead_letters.read(
        builders.a_record(letter.value, topic=letter.topic, key=letter.key, headers=letter.headers)
    )
    again = dead_letters.redriven(found, command_topics=COMMAND_TOPICS)
    assert (again.topic, again.key, again.value) == (NAMES.allocate, b"LAMP", None)
    assert reader.read(builders.a_record(None, headers=again.headers)).command == messages.Unreadable(
        "null_value", "a null on allocate is no command"
    )


@pytest.mark.parametrize("topic", EVENT_TOPICS)
def test_a_null_on_a_topic_of_events_takes_nothing_back_and_is_found_by_verify(topic: str) -> None:
    installation = world.World()
    installation.created("b1", "CHAIR", 10)
    installation.allocated("o1", "CHAIR", 3, "b1")
    installation.append(messages.OutboxMessage(topic, b"CHAIR", None, ()))
    assert installation.findings() == [
        f"events: {topic}/0/{len(installation.topics[topic]) - 1} is no event of this service: its value is null"
    ]


def test_a_null_in_the_journal_is_found_by_verify() -> None:
    installation = world.World()
    installation.append(messages.OutboxMessage(NAMES.journal, b"1", None, ()))
    assert installation.findings() == [f"journal: {NAMES.journal}/0/0 is no row of a journal"]


def test_nothing_is_compacted_but_the_checkpoints_of_the_relay() -> None:
    specs = topic_specs.topic_specs(NAMES, partitions=1)
    assert {spec.name for spec in specs if "compact" in spec.config["cleanup.policy"]} == {NAMES.relay_checkpoint}
    kept_for_ever = {spec.name for spec in specs if spec.config.get("retention.ms") == "-1"}
    assert kept_for_ever == {*COMMAND_TOPICS, *EVENT_TOPICS, NAMES.dead_letter, NAMES.journal}


@pytest.mark.parametrize(
    "topic", [*COMMAND_TOPICS, *EVENT_TOPICS, NAMES.dead_letter, NAMES.journal, NAMES.relay_checkpoint]
)
def test_the_rules_say_what_a_null_means_on_each_topic(topic: str) -> None:
    table = RULES.read_text("utf-8").partition("## Nulls and compaction")[2]
    assert f"`{topic}`" in table
