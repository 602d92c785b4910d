"""The AsyncAPI document: valid by the official schema, and true to what is really sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from allocation import bootstrap, config
from allocation.adapters.avro import schemas
from allocation.domain import commands
from allocation.service_layer import envelopes, external_events, handlers, messages, topics
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

OFFICIAL = Path(__file__).parents[1] / "vendored/asyncapi/3.0.0.json"
NAMES = topics.TopicNames("eu.")
NOW = datetime(2030, 1, 2, tzinfo=UTC)
WRAP = envelopes.Envelopes(topics=NAMES, serializer=serde.FakeSerde())
EVENTS = (
    external_events.LineAllocated("o1", "LAMP", 3, "b1"),
    external_events.LineDeallocated("o1", "LAMP", 3, "b1"),
    external_events.OutOfStock("LAMP", "o1", 3),
)
COMMANDS = (
    commands.CreateBatch("b1", "LAMP", 3),
    commands.Allocate("o1", "LAMP", 3),
    commands.ChangeBatchQuantity("b1", 3),
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return bootstrap.asyncapi(
        config.load(
            topic_prefix=NAMES.prefix,
            kafka_bootstrap_servers="one:9092, two:9093",
            schema_registry_url="https://user:secret@registry/api",
            consumer_group="shop",
        )
    )


def headers_schema(document: dict[str, Any], message: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["messages"][message]["headers"]
    return found


def texts(message: messages.OutboxMessage) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in message.headers}


def check(headers: dict[str, str], schema: dict[str, Any], *, others: bool = False) -> None:
    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(headers)
    assert others or headers.keys() <= schema["properties"].keys()


def test_it_is_valid_by_the_official_schema(document: dict[str, Any]) -> None:
    official = json.loads(OFFICIAL.read_text())
    jsonschema.Draft7Validator(official).validate(json.loads(json.dumps(document)))


def test_the_official_schema_notices_what_is_wrong(document: dict[str, Any]) -> None:
    official = jsonschema.Draft7Validator(json.loads(OFFICIAL.read_text()))
    shouted = {"x": {"action": "shout", "channel": {"$ref": "#/channels/x"}}}
    assert not official.is_valid(document | {"operations": shouted})
    assert not official.is_valid(document | {"info": {}})


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [one for value in part.values() for one in references(value)]
        return [one for value in part for one in references(value)] if isinstance(part, list) else []

    found = references({name: document[name] for name in ("channels", "operations")})
    assert len(found) == 3 * len(document["channels"])
    for reference in found:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_topic_for_others_is_there_with_its_schema_and_its_kafka_settings(document: dict[str, Any]) -> None:
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    records = NAMES.commands | NAMES.events
    assert set(channels) == {*records.values(), NAMES.dead_letter, NAMES.journal}
    for name, topic in records.items():
        assert list(channels[topic]["messages"]) == [name]
        assert document["components"]["messages"][name]["payload"]["schema"] == json.loads(schemas.load()[name])
        kafka = channels[topic]["bindings"]["kafka"]
        assert kafka["partitions"] == 6
        assert kafka["topicConfiguration"]["cleanup.policy"] == ["delete"]
        assert kafka["topicConfiguration"]["retention.ms"] == -1


def test_what_a_null_means_is_told_of_every_topic(document: dict[str, Any]) -> None:
    assert all("null" in channel["description"] for channel in document["channels"].values())


def test_every_handler_is_an_operation(document: dict[str, Any]) -> None:
    operations = document["operations"]
    received = {name for name, one in operations.items() if one["action"] == "receive"}
    assert received == {handler.__name__ for handler in handlers.COMMAND_HANDLERS.values()}
    announcing = {handler.__name__ for several in handlers.EVENT_HANDLERS.values() for handler in several}
    assert operations.keys() - received == announcing | {"put_aside", "write_journal"}
    assert all(operations[name]["bindings"]["kafka"]["groupId"]["const"] == "shop" for name in received)


def test_addresses_are_there_without_credentials(document: dict[str, Any]) -> None:
    assert [server["host"] for server in document["servers"].values()] == ["one:9092", "two:9093"]
    assert "secret" not in json.dumps(document)


@pytest.mark.parametrize("command", COMMANDS)
def test_headers_of_a_command_are_as_described(document: dict[str, Any], command: commands.Command) -> None:
    schema = headers_schema(document, type(command).__name__)
    sent = WRAP.command(command, id=messages.MessageId("shop", "c1"), time=NOW, no_grace=True)
    check(texts(sent), schema)
    check({}, schema)


@pytest.mark.parametrize("event", EVENTS)
def test_headers_of_an_event_are_as_described(document: dict[str, Any], event: external_events.ExternalEvent) -> None:
    schema = headers_schema(document, type(event).__name__)
    cause = envelopes.Cause(message=builders.a_message(COMMANDS[1]), time=NOW)
    sent = texts(WRAP.event(event, cause=cause, ordinal=0, sequence=1))
    check(sent, schema)
    check(sent | {messages.RESENT: "1"}, schema)
    for name in schema["required"]:
        with pytest.raises(jsonschema.ValidationError, match=f"'{name}' is a required property"):
            check({other: text for other, text in sent.items() if other != name}, schema)


def test_headers_of_a_dead_letter_are_as_described(document: dict[str, Any]) -> None:
    message = builders.a_message(messages.Unreadable("undecodable", "no"))
    letter = WRAP.dead_letter(message, reason="undecodable", error="no", error_class="KeyError", time=NOW)
    check(texts(letter), headers_schema(document, "DeadLetter"), others=True)
    added = {name for name, _ in letter.headers if name.startswith("dead_letter_")}
    assert added <= headers_schema(document, "DeadLetter")["properties"].keys()


def test_headers_of_a_row_of_the_journal_are_as_described(document: dict[str, Any]) -> None:
    database = fakes.FakeDatabase()
    record = builders.a_record(b"rubbish")
    installations.a_processor(database.begin).process([record])
    [row] = [one for one in database.state.outbox if one.topic == installations.NAMES.journal]
    check(texts(row), headers_schema(document, "JournalRow"))
    assert row.headers
