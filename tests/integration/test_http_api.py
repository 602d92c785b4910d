from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from concurrent import futures
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from starlette import testclient

from allocation import bootstrap
from allocation.adapters.kafka import log_reader
from allocation.adapters.postgres import notifications, schema, tables
from allocation.domain import commands
from allocation.entrypoints.http_api import application, parts, server
from allocation.service_layer import messages, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allocation import config

DEADLINE_S = 60.0
A_LINE = {"orderid": "o1", "sku": "CHAIR", "qty": 3}
A_BATCH = {"ref": "b1", "sku": "CHAIR", "qty": 10}
A_QUANTITY = {"batchref": "b1", "qty": 2}


@contextlib.contextmanager
def working(settings: config.Settings) -> Iterator[None]:
    stop = threading.Event()
    with bootstrap.worker(settings, stopping=stop) as worker:
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def api(initialised: config.Settings) -> Iterator[parts.Parts]:
    """The API, whose calls wait as long as a worker may take to begin on a busy machine."""
    with server.composed(initialised.model_copy(update={"http_timeout_s": 60.0})) as api:
        yield api


@pytest.fixture
def client(api: parts.Parts) -> Iterator[testclient.TestClient]:
    with testclient.TestClient(application.create(api)) as client:
        yield client


@pytest.fixture
def database(initialised: config.Settings) -> Iterator[sqlalchemy.Engine]:
    with bootstrap.database(initialised) as engine:
        yield engine


def eventually(look: Callable[[], Any], expected: Any) -> None:
    """Look until it is as expected; the outcome of a command that nobody waits for any more can only be looked for."""
    deadline = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while (found := look()) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        pause.wait(0.05)


def post(client: testclient.TestClient, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    response = client.post(path, json=body)
    is_json = response.headers["content-type"] == "application/json"
    return response.status_code, response.json() if is_json else response.text


def test_calls_are_answered_by_what_the_worker_did(initialised: config.Settings, client: testclient.TestClient) -> None:
    with working(initialised):
        assert post(client, "/allocate", A_LINE) == (400, {"message": "Invalid sku CHAIR"})
        assert post(client, "/change_batch_quantity", A_QUANTITY) == (404, {"message": "Unknown batch b1"})
        assert post(client, "/add_batch", A_BATCH) == (201, "OK")
        assert post(client, "/add_batch", A_BATCH) == (201, "OK")
        assert post(client, "/add_batch", A_BATCH | {"qty": 11})[0] == 409
        assert post(client, "/allocate", A_LINE) == (201, {"batchref": "b1"})
        assert client.get("/allocations/o1").json() == [{"sku": "CHAIR", "batchref": "b1", "qty": 3}]
        assert post(client, "/allocate", A_LINE | {"orderid": "o2", "qty": 8}) == (201, {"batchref": None})
        assert post(client, "/add_batch", A_BATCH | {"ref": "b2", "eta": "2030-01-31"}) == (201, "OK")
        assert post(client, "/change_batch_quantity", A_QUANTITY) == (201, "OK")
        assert client.get("/allocations/o1").json() == [{"sku": "CHAIR", "batchref": "b2", "qty": 3}]


def test_without_a_worker_a_command_is_on_its_topic_and_is_handled_later(
    initialised: config.Settings, api: parts.Parts
) -> None:
    impatient = dataclasses.replace(api, timeout_s=2.0)  # what it takes to send a command, several times
    with testclient.TestClient(application.create(impatient)) as client:
        accepted = client.post("/add_batch", json=A_BATCH)
        at = accepted.json()
        assert accepted.status_code == 202
        assert client.get(f"/commands/{at['commandid']}").status_code == 404
        (record,) = log_reader.LogReader(bootstrap.kafka_clients(initialised)).read([at["topic"]])
        assert (record.partition, record.offset, record.key) == (at["partition"], at["offset"], b"CHAIR")
        assert dict(record.headers)["ce_id"] == at["commandid"].encode()
        with working(initialised):
            eventually(lambda: client.get(f"/commands/{at['commandid']}").status_code, 200)
        assert client.get(f"/commands/{at['commandid']}").json() == {
            **at,
            "source": "allocation/http",
            "status": "handled",
            "result": None,
        }


def test_the_same_key_is_done_once_and_another_body_is_refused(
    initialised: config.Settings, api: parts.Parts, client: testclient.TestClient
) -> None:
    def keyed(body: dict[str, Any]) -> tuple[int, Any]:
        response = client.post("/allocate", json=body, headers={"Idempotency-Key": "k1"})
        return response.status_code, response.json()

    with working(initialised):
        post(client, "/add_batch", A_BATCH)
        assert keyed(A_LINE) == keyed(A_LINE) == (201, {"batchref": "b1"})
        assert keyed(A_LINE | {"qty": 4})[0] == 422
    outcome = api.reads.outcome("k1")
    assert outcome is not None
    assert outcome.result == "b1"


def test_two_calls_with_one_key_at_once_agree_on_which_of_them_has_it(
    initialised: config.Settings, client: testclient.TestClient
) -> None:
    def keyed(qty: int) -> int:
        body = A_LINE | {"qty": qty}
        return client.post("/allocate", json=body, headers={"Idempotency-Key": "k1"}).status_code

    with working(initialised), futures.ThreadPoolExecutor() as callers:
        post(client, "/add_batch", A_BATCH)
        assert sorted(callers.map(keyed, (1, 2))) == [201, 422]


def test_a_command_behind_a_parked_one_gets_its_place_at_once(
    initialised: config.Settings, api: parts.Parts, client: testclient.TestClient
) -> None:
    early = commands.Allocate("o0", "CHAIR", 1)
    id_ = messages.MessageId("someone", "early")
    api.log.send(api.envelopes.command(early, id=id_, time=datetime.now(UTC)), timeout_s=DEADLINE_S)
    with working(initialised.model_copy(update={"grace_s": 600.0})):
        eventually(lambda: client.get("/commands/early").json().get("status"), "waiting")
        accepted = client.post("/allocate", json=A_LINE)
        assert accepted.status_code == 202
        assert client.get(accepted.headers["location"]).json()["status"] == "waiting"
        assert post(client, "/add_batch", A_BATCH) == (201, "OK")
        assert client.get(accepted.headers["location"]).json()["result"] == "b1"


def test_many_calls_wait_at_once(initialised: config.Settings, client: testclient.TestClient) -> None:
    def allocate(number: int) -> int:
        return client.post("/allocate", json=A_LINE | {"orderid": f"o{number}", "qty": 1}).status_code

    with working(initialised), futures.ThreadPoolExecutor(100) as callers:
        post(client, "/add_batch", A_BATCH | {"qty": 300})
        assert set(callers.map(allocate, range(300))) == {201}


@pytest.mark.parametrize("hinted", [True, False])
def test_a_wait_survives_the_loss_of_its_connections(
    api: parts.Parts,
    client: testclient.TestClient,
    database: sqlalchemy.Engine,
    hinted: bool,  # noqa: FBT001
) -> None:
    with futures.ThreadPoolExecutor() as caller:
        answer = caller.submit(client.post, "/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"})
        with database.begin() as connection:
            connection.execute(
                sqlalchemy.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        a_workers_commit(api, database, hinted=hinted)
        assert answer.result(DEADLINE_S).json() == {"batchref": "b7"}


def a_workers_commit(api: parts.Parts, database: sqlalchemy.Engine, *, hinted: bool) -> None:
    message = api.envelopes.command(
        commands.Allocate(**A_LINE),  # type: ignore[arg-type]
        id=messages.MessageId(parts.SOURCE, "k1"),
        time=datetime.now(UTC),
    )
    row = {"id": "k1", "source": parts.SOURCE, "attempt": 1, "outcome": "handled", "result": "b7"}
    place = {"topic": message.topic, "partition": 0, "offset": 0}
    with database.begin() as connection:
        connection.execute(
            sqlalchemy.insert(tables.inbox).values(digest=reading.digest(message.topic, message.value), **row, **place)
        )
        if hinted:
            connection.execute(sqlalchemy.text(notifications.NOTIFY))


def test_a_dead_kafka_is_said_in_time_and_reads_go_on(initialised: config.Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:  # accepts, and never says a word
        servers = f"127.0.0.1:{nobody.getsockname()[1]}"
        lonely = initialised.model_copy(update={"kafka_bootstrap_servers": servers, "http_timeout_s": 1.0})
        with server.composed(lonely) as api, testclient.TestClient(application.create(api)) as client:
            response = client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"})
            assert response.status_code == 503
            assert response.json()["commandid"] == "k1"
            assert servers in response.json()["message"]
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["well"]["database"]) == (503, "ok")
            assert client.get("/allocations/o1").status_code == 404


def test_an_api_does_not_start_before_init_did(settings: config.Settings) -> None:
    with bootstrap.database(settings) as engine:
        schema.migrate(engine)
    with pytest.raises(schema.NotInitialised, match="allocation init"), server.composed(settings):
        pytest.fail("it started")
