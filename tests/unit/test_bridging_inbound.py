from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from allocation.service_layer.bridging import inbound, intake, perseverance
from allocation.service_layer.bridging import ports as bridging
from tests.fakes import bridging as fakes
from tests.unit import bridging_builders as build

if TYPE_CHECKING:
    from allocation.service_layer import messages


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseverance, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(perseverance, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(inbound, "IDLE_S", 0.01)


@pytest.fixture
def redis() -> fakes.FakeRedis:
    return fakes.FakeRedis()


@pytest.fixture
def kafka() -> fakes.FakeKafka:
    return fakes.FakeKafka()


@pytest.fixture
def leases() -> fakes.FakeLeases:
    return fakes.FakeLeases()


@pytest.fixture
def our_lease(leases: fakes.FakeLeases) -> fakes.FakeLease:
    lease = fakes.FakeLease(leases)
    assert lease.acquire()
    return lease


def an_allocate(orderid: str) -> bytes:
    return json.dumps({"orderid": orderid, "sku": "LAMP", "qty": 3}).encode()


def orderids(committed: list[messages.OutboxMessage]) -> list[str]:
    serde = build.a_serde()
    return [serde.deserialize("Allocate", message.value or b"")["orderid"] for message in committed]


def ids(committed: list[messages.OutboxMessage]) -> list[bytes | None]:
    return [dict(message.headers)["ce_id"] for message in committed]


def test_messages_are_forwarded_as_commands_in_order(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        for number in range(1200):
            redis.publish("shop.allocate", an_allocate(f"o{number}"))
        kafka.wait_for(1200)

    assert orderids(kafka.committed) == [f"o{number}" for number in range(1200)]
    assert {message.topic for message in kafka.committed} == {"shop.allocate"}
    assert {message.key for message in kafka.committed} == {b"LAMP"}
    assert {dict(message.headers)["ce_source"] for message in kafka.committed} == {b"allocation/redis"}
    assert len(set(ids(kafka.committed))) == 1200


def test_a_malformed_message_is_a_dead_letter_and_the_next_one_goes_on(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        redis.publish("shop.change_batch_quantity", b'{"batchref": "b1", "qty": true}')
        redis.publish("shop.allocate", an_allocate("o1"))
        kafka.wait_for(2)

    dead_letter, command = kafka.committed
    assert command.topic == "shop.allocate"
    assert dead_letter.topic == "shop.allocation.dead_letter"
    assert dead_letter.value == b'{"batchref": "b1", "qty": true}'
    assert dict(dead_letter.headers) == {
        "dead_letter_reason": b"invalid",
        "dead_letter_error": b"qty is true; it must be a whole number",
        "dead_letter_topic": b"redis:shop.change_batch_quantity",
        "dead_letter_partition": b"-1",
        "dead_letter_offset": b"-1",
        "dead_letter_attempt": b"1",
    }


def test_a_dead_letter_too_large_for_kafka_is_cut_and_says_so() -> None:
    outgoing, problem = build.an_intake().wrap(bridging.Published("shop.allocate", b"x" * 2_000_000))

    assert problem is not None
    assert outgoing.value == b"x" * intake.MAX_DEAD_LETTER_BYTES
    assert b"only the first 900000 of its 2000000 bytes" in (dict(outgoing.headers)["dead_letter_error"] or b"")


def test_nothing_is_lost_or_repeated_while_kafka_is_down(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        kafka.is_down = True
        for number in range(10):
            redis.publish("shop.allocate", an_allocate(f"o{number}"))
        kafka.wait_for_refusal()
        kafka.is_down = False
        kafka.wait_for(10)

    assert orderids(kafka.committed) == [f"o{number}" for number in range(10)]


def test_a_commit_whose_answer_is_lost_is_not_repeated(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        kafka.loses_answers = 3
        for number in range(5):
            redis.publish("shop.allocate", an_allocate(f"o{number}"))
            kafka.wait_for(number + 1)

    assert orderids(kafka.committed) == [f"o{number}" for number in range(5)]


def test_redis_is_subscribed_to_again_when_it_is_back(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        redis.go_down()
        redis.is_down = False
        redis.wait_for_subscription()
        redis.publish("shop.allocate", an_allocate("o1"))
        kafka.wait_for(1)


def test_what_was_published_before_a_stop_is_still_forwarded(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        redis.publish("shop.allocate", an_allocate("o1"))

    assert orderids(kafka.committed) == ["o1"]


def test_a_bridge_whose_place_was_taken_forwards_nothing_and_says_so(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, leases: fakes.FakeLeases, our_lease: fakes.FakeLease
) -> None:
    stopping = threading.Event()
    job = build.an_inbound(redis, kafka, our_lease)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            job.run(stopping)
        except bridging.TakenOver as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    redis.wait_for_subscription()
    leases.expire()
    assert fakes.FakeLease(leases).acquire()
    fakes.FakeForwarder(kafka).start()
    redis.publish("shop.allocate", an_allocate("o1"))
    thread.join(fakes.PATIENCE_S)

    assert [str(error) for error in failures] == [
        "another bridge works now; 1 messages from Redis are left to it or lost"
    ]
    assert kafka.committed == []


def test_a_bridge_that_kafka_fenced_by_itself_goes_on_while_the_lease_is_its_own(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        kafka.owner = None
        redis.publish("shop.allocate", an_allocate("o1"))
        kafka.wait_for(1)

    assert orderids(kafka.committed) == ["o1"]


def test_a_fenced_bridge_waits_until_the_database_can_tell_whose_turn_it_is(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, leases: fakes.FakeLeases, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        leases.is_down = True
        kafka.owner = None
        redis.publish("shop.allocate", an_allocate("o1"))
        leases.wait_for_refusal()
        assert kafka.owner is None
        leases.is_down = False
        kafka.wait_for(1)

    assert orderids(kafka.committed) == ["o1"]


def test_while_kafka_is_down_no_more_is_taken_from_redis_than_memory_may_hold(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "MAX_PENDING_BYTES", 1)
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        kafka.is_down = True
        redis.publish("shop.allocate", an_allocate("o1"))
        kafka.wait_for_refusal()
        redis.publish("shop.allocate", an_allocate("o2"))
        assert redis.waiting() == 1
        kafka.is_down = False
        kafka.wait_for(2)

    assert orderids(kafka.committed) == ["o1", "o2"]


def test_what_is_in_hand_at_a_stop_is_tried_for_a_while(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease
) -> None:
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        kafka.is_down = True
        redis.publish("shop.allocate", an_allocate("o1"))
        kafka.wait_for_refusal()
        threading.Timer(0.05, kafka.come_back).start()

    assert orderids(kafka.committed) == ["o1"]


def test_a_stop_does_not_wait_for_kafka_for_ever(
    redis: fakes.FakeRedis, kafka: fakes.FakeKafka, our_lease: fakes.FakeLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "FAREWELL_S", 0.05)
    with build.running(build.an_inbound(redis, kafka, our_lease)):
        redis.wait_for_subscription()
        kafka.is_down = True
        redis.publish("shop.allocate", an_allocate("o1"))
        kafka.wait_for_refusal()

    assert kafka.committed == []
