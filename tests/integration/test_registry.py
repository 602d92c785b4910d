"""The schema registry: the real one, one that is away, and things that are none."""

from __future__ import annotations

import json
import socket
import threading
from http import server
from typing import TYPE_CHECKING, ClassVar

import pytest
from confluent_kafka import schema_registry

from allocation.adapters.avro import registry, schemas
from allocation.service_layer import ports
from tests import kafka_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

ALLOCATE = schemas.load()["Allocate"]
QUICK = {"timeout": "0.2", "max.retries": "0"}  # for who is not to answer as a registry does
ONCE = {"max.retries": "0"}
NO_ID = 2_000_000_000


class Impostor(server.BaseHTTPRequestHandler):
    """Answers everything alike, as some other service or a broken registry would."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def impostor() -> Iterator[str]:
    with server.HTTPServer(("127.0.0.1", 0), Impostor) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def client(endpoints: devstack.Endpoints) -> Iterator[registry.Registry]:
    with registry.Registry(endpoints.schema_registry_url) as opened:
        yield opened


@pytest.fixture
def subject() -> str:
    return schemas.subject(kafka_logs.a_name())


def test_registering_again_gives_the_same_id(
    endpoints: devstack.Endpoints, client: registry.Registry, subject: str
) -> None:
    first = client.register(subject=subject, definition=ALLOCATE)
    assert client.register(subject=subject, definition=ALLOCATE) == first
    with registry.Registry(endpoints.schema_registry_url) as another:
        assert another.register(subject=subject, definition=ALLOCATE) == first
        assert another.id_of(subject=subject, definition=ALLOCATE) == first


@pytest.mark.parametrize("name", schemas.load())
def test_a_registered_schema_is_given_back_as_it_was(client: registry.Registry, subject: str, name: str) -> None:
    definition = schemas.load()[name]
    schema_id = client.register(subject=subject, definition=definition)
    assert json.loads(client.definition(schema_id)) == json.loads(definition)


def test_an_id_that_was_never_given_is_a_key_error(client: registry.Registry) -> None:
    with pytest.raises(KeyError):
        client.definition(NO_ID)


def test_a_schema_that_a_subject_does_not_have_is_told_with_the_remedy(client: registry.Registry, subject: str) -> None:
    with pytest.raises(registry.SchemaNotRegistered, match=f"our schema of {subject}; run `allocation init`"):
        client.id_of(subject=subject, definition=ALLOCATE)
    client.register(subject=subject, definition=ALLOCATE)
    with pytest.raises(registry.SchemaNotRegistered):
        client.id_of(subject=subject, definition=schemas.load()["CreateBatch"])


def test_what_is_no_schema_is_rejected(client: registry.Registry, subject: str) -> None:
    with pytest.raises(registry.SchemaRejected, match=f"refuses to register a schema of {subject}"):
        client.register(subject=subject, definition='{"type": "nothing"}')


def test_a_change_that_breaks_readers_is_rejected_where_the_registry_holds_to_the_rules(
    endpoints: devstack.Endpoints, client: registry.Registry, subject: str
) -> None:
    with schema_registry.SchemaRegistryClient({"url": endpoints.schema_registry_url}) as theirs:
        client.register(subject=subject, definition=ALLOCATE)
        theirs.set_compatibility(subject, "FULL_TRANSITIVE")
    changed = json.loads(ALLOCATE)
    changed["fields"].append({"name": "colour", "type": "string"})
    with pytest.raises(registry.SchemaRejected, match=f"refuses to register a schema of {subject}"):
        client.register(subject=subject, definition=json.dumps(changed))
    changed["fields"][-1]["default"] = "any"
    client.register(subject=subject, definition=json.dumps(changed))


def test_a_registry_that_is_away_is_a_dependency_that_is_down() -> None:
    with registry.Registry("http://user:secret@127.0.0.1:1/api", QUICK) as client:
        for action in (
            lambda: client.definition(1),
            lambda: client.register(subject="s", definition=ALLOCATE),
            lambda: client.id_of(subject="s", definition=ALLOCATE),
        ):
            with pytest.raises(ports.DependencyDown, match=r"registry at http://127\.0\.0\.1:1/api") as caught:
                action()
            assert "secret" not in str(caught.value)


def test_a_registry_that_does_not_answer_is_given_up_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with registry.Registry(url, QUICK) as client, pytest.raises(ports.DependencyDown, match=url):
            client.definition(1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>Not Found</html>"),
        (404, b'{"error_code": 404, "message": "no such page"}'),
        (500, b'{"error_code": 50001, "message": "store error"}'),
        (503, b"busy"),
        (401, b'{"error_code": 40101, "message": "who are you?"}'),
        (200, b"<html>Welcome</html>"),
        (200, b""),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"schema": 7}'),
    ],
)
def test_something_that_is_no_registry_is_a_dependency_that_is_down(
    impostor: str, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
) -> None:
    monkeypatch.setattr(Impostor, "status", status)
    monkeypatch.setattr(Impostor, "body", body)
    with registry.Registry(impostor, QUICK) as client:
        with pytest.raises(ports.DependencyDown, match=impostor):
            client.definition(1)
        with pytest.raises(ports.DependencyDown, match=impostor):
            client.register(subject="s", definition=ALLOCATE)


@pytest.mark.parametrize(("status", "code"), [(409, 409), (422, 42201)])
def test_an_incompatible_schema_is_rejected_with_the_reason(
    impostor: str, monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    monkeypatch.setattr(Impostor, "status", status)
    monkeypatch.setattr(Impostor, "body", json.dumps({"error_code": code, "message": "qty was removed"}).encode())
    with registry.Registry(impostor, ONCE) as client, pytest.raises(registry.SchemaRejected, match="qty was removed"):
        client.register(subject="s", definition=ALLOCATE)


def test_a_setting_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="schema registry setting timeout is 'soon'; it must be a number"):
        registry.Registry("http://127.0.0.1:1", {"timeout": "soon"})
