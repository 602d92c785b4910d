"""Two versions of the schemas in one installation, and the registry that is told to hold to the contract."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer import testing

from allocation import bootstrap, config
from allocation.adapters.avro import registry, schemas
from allocation.entrypoints.cli import schemas as cli
from tests import avro_values, kafka_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack
    from allocation.adapters.avro import serde

SAMPLES = avro_values.SAMPLES
NOWHERE = "http://127.0.0.1:1"
OLD = schemas.load()
NOTE = {"name": "note", "type": ["null", "string"], "default": None}


def with_field(definition: str, field: dict[str, Any]) -> str:
    record = json.loads(definition)
    return json.dumps(record | {"fields": [*record["fields"], field]})


NEW = {name: with_field(definition, NOTE) for name, definition in OLD.items()}


@contextlib.contextmanager
def opened(settings: config.Settings) -> Iterator[serde.AvroSerde]:
    """Open what reads and writes values, as every part does at its start."""
    with bootstrap.database(settings) as database, bootstrap.serde(settings, database) as found:
        yield found


def test_old_and_new_processes_start_and_read_each_other_with_the_registry_and_without(
    initialised: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lonely = initialised.model_copy(update={"schema_registry_url": NOWHERE})
    with opened(initialised) as running_since_before, contextlib.ExitStack() as started:
        with monkeypatch.context() as patch:
            patch.setattr(schemas, "load", lambda: NEW)
            bootstrap.initialise(initialised, on_progress=lambda _text: None)
            new = [started.enter_context(opened(settings)) for settings in (initialised, lonely)]
        # An old process that restarts while new ones run.
        old = [started.enter_context(opened(settings)) for settings in (initialised, lonely)]
        for name, fields in SAMPLES.items():
            by_old, by_new = old[0].serialize(name, fields), new[0].serialize(name, {**fields, "note": "hello"})
            assert by_old != by_new
            for reader in (running_since_before, *old):
                assert reader.deserialize(name, by_new) == reader.deserialize(name, by_old) == fields
            for reader in new:
                assert reader.deserialize(name, by_old) == {**fields, "note": None}
                assert reader.deserialize(name, by_new) == {**fields, "note": "hello"}


@pytest.fixture
def subjects(endpoints: devstack.Endpoints, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Subjects of an installation of its own, by record name, as the command line finds them."""
    prefix = f"{kafka_logs.a_name()}."
    monkeypatch.setenv("ALLOCATION_SCHEMA_REGISTRY_URL", endpoints.schema_registry_url)
    monkeypatch.setenv("ALLOCATION_TOPIC_PREFIX", prefix)
    names = bootstrap.topic_names(config.load())
    return {name: schemas.subject(topic) for name, topic in (names.commands | names.events).items()}


def run(*arguments: str) -> testing.Result:
    return testing.CliRunner().invoke(cli.app, arguments)


def test_what_is_registered_is_held_to_by_the_registry_and_by_the_check(
    endpoints: devstack.Endpoints, subjects: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = run("register"), run("register")
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.output == again.output
    assert [line.split()[:2] for line in first.output.splitlines()] == [list(pair) for pair in subjects.items()]
    assert all(line.endswith("FULL_TRANSITIVE") for line in first.output.splitlines())

    subject = subjects["Allocate"]
    with registry.Registry(endpoints.schema_registry_url) as client:
        with pytest.raises(registry.SchemaRejected, match=subject):
            client.register(subject=subject, definition=with_field(OLD["Allocate"], NOTE | {"type": "string"}))
        client.register(subject=subject, definition=NEW["Allocate"])  # somebody else's
        assert list(client.versions(subject)) == [1, 2]
        assert client.versions(f"{subject}-of-nobody") == {}
    assert run("check", "--registry").exit_code == 0
    assert "- note: " in run("diff", "Allocate", "--registry").output

    ours = with_field(OLD["Allocate"], NOTE | {"type": ["null", "int"]})
    monkeypatch.setattr(schemas, "load", lambda: OLD | {"Allocate": ours})
    assert run("check").exit_code == 0
    for refused in (run("check", "--registry"), run("register")):
        assert refused.exit_code == 1
        assert f"refused: Allocate.note breaks version 2 of {subject} (BACKWARD): " in refused.output
