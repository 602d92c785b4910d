from __future__ import annotations

import threading
import time
from concurrent import futures
from typing import Any

import pytest

from allocation.service_layer import messages
from tests.unit.http_api.world import A_BATCH, A_LINE, A_QUANTITY, PROMPT_S, Place, World, header


def test_add_batch_answers_ok_once_it_is_handled(world: World) -> None:
    response = world.client.post("/add_batch", json=A_BATCH | {"eta": "2030-01-31"})
    assert (response.status_code, response.text) == (201, "OK")
    assert response.headers["content-type"].startswith("text/plain")
    assert world.sent() == [["CreateBatch", {"ref": "b1", "sku": "CHAIR", "qty": 100, "eta": "2030-01-31"}]]


@pytest.mark.parametrize("eta", [{}, {"eta": None}])
def test_a_batch_without_eta_is_in_the_warehouse(world: World, eta: dict[str, None]) -> None:
    response = world.client.post("/add_batch", json={"ref": "b1", "sku": "CHAIR", "qty": 100} | eta)
    assert response.status_code == 201
    assert world.sent()[0][1]["eta"] is None


@pytest.mark.parametrize("batchref", ["b1", None])
def test_allocate_answers_the_batch_or_null_when_out_of_stock(world: World, batchref: str | None) -> None:
    world.log.outcome = {"status": "handled", "result": batchref}
    response = world.client.post("/allocate", json=A_LINE)
    assert (response.status_code, response.json()) == (201, {"batchref": batchref})


def test_change_batch_quantity_answers_ok_and_takes_the_sku_where_it_is_known(world: World) -> None:
    response = world.client.post("/change_batch_quantity", json=A_QUANTITY | {"sku": "CHAIR"})
    assert (response.status_code, response.text) == (201, "OK")
    assert world.sent() == [["ChangeBatchQuantity", {"batchref": "b1", "qty": 0, "sku": "CHAIR"}]]
    assert world.log.messages[0].key == b"CHAIR"


def test_a_command_waives_its_grace_and_names_its_source(world: World) -> None:
    world.client.post("/allocate", json=A_LINE)
    (message,) = world.log.messages
    assert (message.topic, message.key) == ("allocate", b"CHAIR")
    assert header(message, messages.NO_GRACE) == "1"
    assert header(message, messages.CE_SOURCE) == "allocation/http"


def test_a_command_goes_on_with_the_callers_trace(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    world.client.post("/allocate", json=A_LINE, headers={"traceparent": trace})
    world.client.post("/allocate", json=A_LINE, headers={"traceparent": "nonsense"})
    went_on, anew = (header(message, messages.TRACEPARENT) for message in world.log.messages)
    assert went_on == trace
    assert anew.startswith("00-")


@pytest.mark.parametrize(
    ("reason", "path", "body", "status"),
    [
        ("invalid_sku", "/allocate", A_LINE, 400),
        ("unknown_batch", "/change_batch_quantity", A_QUANTITY, 404),
        ("conflict", "/add_batch", A_BATCH, 409),
        ("invalid", "/allocate", A_LINE, 422),
        ("discarded", "/allocate", A_LINE, 409),
    ],
)
def test_a_refusal_says_why(world: World, reason: str, path: str, body: dict[str, Any], status: int) -> None:
    world.log.outcome = {"status": "refused", "reason": reason, "error": "Because."}
    response = world.client.post(path, json=body)
    assert (response.status_code, response.json()) == (status, {"message": "Because."})


def test_without_an_outcome_in_time_a_call_is_told_where_its_command_lies(impatient_world: World) -> None:
    impatient_world.log.outcome = None
    response = impatient_world.client.post("/allocate", json=A_LINE)
    commandid = header(impatient_world.log.messages[0], messages.CE_ID)
    assert response.status_code == 202
    assert response.json() == {"commandid": commandid, "topic": "allocate", "partition": 3, "offset": 0}
    assert response.headers["location"] == f"/commands/{commandid}"


def test_a_command_behind_a_parked_one_is_not_waited_for(world: World) -> None:
    world.log.outcome = {"status": "waiting", "reason": "queued", "error": "keeps its place"}
    began = time.monotonic()
    response = world.client.post("/allocate", json=A_LINE)
    assert response.status_code == 202
    assert time.monotonic() - began < PROMPT_S / 2


def test_a_lost_hint_delays_an_outcome_but_loses_none(world: World) -> None:
    world.hints.give = lambda: None  # type: ignore[method-assign]
    assert world.client.post("/allocate", json=A_LINE).status_code == 201


def test_a_dead_database_costs_a_call_its_answer_not_its_command(impatient_world: World) -> None:
    impatient_world.reads.down = True
    response = impatient_world.client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 202
    assert len(impatient_world.log.messages) == 1


def test_a_database_that_comes_back_answers_those_who_still_wait(world: World) -> None:
    world.reads.down = True
    revival = threading.Timer(0.1, lambda: setattr(world.reads, "down", False))
    revival.start()
    assert world.client.post("/allocate", json=A_LINE).status_code == 201
    revival.join()


def test_a_look_that_fails_unexpectedly_is_tried_again(world: World) -> None:
    world.reads.failures.append(ZeroDivisionError("a bug"))
    assert world.client.post("/allocate", json=A_LINE).status_code == 201


def test_kafka_that_takes_nothing_is_said_with_the_commands_id(world: World) -> None:
    world.log.down = True
    response = world.client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 503
    assert response.json()["commandid"] == "k1"
    assert "Idempotency-Key: k1" in response.json()["message"]
    assert "nowhere:9092" in response.json()["message"]
    assert response.headers["retry-after"] == "1"


def test_kafka_that_is_too_slow_is_not_waited_for_beyond_the_calls_time(impatient_world: World) -> None:
    released = threading.Event()

    def hanging(message: messages.OutboxMessage, *, timeout_s: float) -> Place:
        del timeout_s
        released.wait(PROMPT_S)
        return Place(message.topic, 0, 0)

    impatient_world.log.send = hanging  # type: ignore[method-assign]
    response = impatient_world.client.post("/allocate", json=A_LINE)
    released.set()
    assert response.status_code == 503
    assert "did not answer" in response.json()["message"]


def test_the_same_key_and_body_gets_the_stored_outcome_without_a_second_command(world: World) -> None:
    world.log.outcome = {"status": "handled", "result": "b1"}
    first, second = (world.client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json() == second.json() == {"batchref": "b1"}
    assert second.status_code == 201
    assert len(world.log.messages) == 1


def test_the_same_key_with_another_body_is_refused_before_it_is_sent(world: World) -> None:
    world.client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"})
    response = world.client.post("/allocate", json=A_LINE | {"qty": 4}, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 422
    assert response.json()["message"].startswith("Idempotency-Key: k1")
    assert len(world.log.messages) == 1


def test_the_same_key_with_another_body_is_refused_when_both_were_under_way(world: World) -> None:
    def overtaken(message: messages.OutboxMessage, *, timeout_s: float) -> Place:
        del timeout_s
        other = message._replace(value=b"\0\0\0\0\1another")
        world.log.handle(other, Place(message.topic, 0, 0), status="handled")
        return Place(message.topic, 0, 1)

    world.log.send = overtaken  # type: ignore[method-assign]
    response = world.client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 422


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "ключ", "x" * 256])
def test_a_key_that_could_not_be_an_id_is_refused(world: World, key: str) -> None:
    response = world.client.post("/allocate", json=A_LINE, headers={b"Idempotency-Key": key.encode()})
    assert response.status_code == 400
    assert response.json()["message"].startswith("Idempotency-Key: ")
    assert world.log.messages == []


def test_two_keys_are_one_too_many(world: World) -> None:
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert world.client.post("/allocate", json=A_LINE, headers=twice).status_code == 400


def test_all_who_wait_are_looked_up_in_one_query(world: World) -> None:
    world.log.outcome = None
    arrived = threading.Barrier(9)
    plain_send = world.log.send

    def send(message: messages.OutboxMessage, *, timeout_s: float) -> Place:
        place = plain_send(message, timeout_s=timeout_s)
        arrived.wait(PROMPT_S)
        return place

    world.log.send = send  # type: ignore[method-assign]
    with futures.ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(world.client.post, "/allocate", json=A_LINE) for _ in range(8)]
        arrived.wait(PROMPT_S)
        for message in tuple(world.log.messages):
            world.log.handle(message, Place(message.topic, 0, 0), status="handled", result="b1")
        assert [call.result(PROMPT_S).status_code for call in calls] == [201] * 8
    assert max(map(len, world.reads.looks)) == 8
