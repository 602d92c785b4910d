from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.integration import bridge_outside as outside

if TYPE_CHECKING:
    from allocation import config, devstack


def an_allocate(number: int) -> dict[str, object]:
    return {"orderid": f"o{number}", "sku": "LAMP", "qty": 3}


def test_what_is_published_on_redis_is_on_kafka_decoded_in_order_and_once(initialised: config.Settings) -> None:
    with (
        outside.programs(initialised) as programs,
        outside.watching(initialised, "allocate", "change_batch_quantity") as watcher,
        outside.a_bridge(initialised),
    ):
        programs.wait_for_bridge()
        for number in range(1000):
            programs.publish("allocate", an_allocate(number))
        programs.publish("change_batch_quantity", {"batchref": "batch-1", "qty": 7, "why": "water damage"})
        records = watcher.next(1001)
        assert watcher.sees_nothing_more()

        allocates = [record for record in records if record.topic() == f"{initialised.topic_prefix}allocate"]
        changes = [record for record in records if record not in allocates]
        assert [watcher.decode(record) for record in allocates] == [an_allocate(number) for number in range(1000)]
        assert [watcher.decode(record) for record in changes] == [{"batchref": "batch-1", "qty": 7, "sku": None}]
        assert {record.key() for record in allocates} == {b"LAMP"}
        assert changes[0].key() == b"batch-1"
        assert {outside.headers(record)["ce_source"] for record in records} == {b"allocation/redis"}
        assert outside.headers(changes[0])["ce_type"] == b"allocation.ChangeBatchQuantity"
        assert len({uuid.UUID(outside.headers(record)["ce_id"].decode()) for record in records}) == 1001


def test_malformed_messages_are_dead_letters_as_they_came_and_the_rest_goes_on(initialised: config.Settings) -> None:
    malformed = {
        b"{": b"undecodable",
        b"\xff\xfe": b"undecodable",
        b'{"orderid": "o1", "sku": "LAMP", "qty": 3.0}': b"invalid",
        b'{"orderid": "o1", "sku": "LAMP"}': b"invalid",
        b'{"orderid": "o1", "sku": "", "qty": 3}': b"invalid",
        b"[" * 300_000: b"undecodable",
    }
    with (
        outside.programs(initialised) as programs,
        outside.watching(initialised, "allocation.dead_letter") as dead_letters,
        outside.watching(initialised, "allocate") as commands,
        outside.a_bridge(initialised),
    ):
        programs.wait_for_bridge()
        for payload in malformed:
            programs.publish("allocate", payload)
        programs.publish("allocate", an_allocate(1))
        found = dead_letters.next(len(malformed))

        assert commands.decode(commands.next(1)[0]) == an_allocate(1)
        assert {record.value(): outside.headers(record)["dead_letter_reason"] for record in found} == malformed
        assert {outside.headers(record)["dead_letter_topic"] for record in found} == {
            f"redis:{initialised.topic_prefix}allocate".encode()
        }


def test_two_bridges_at_once_forward_once(initialised: config.Settings) -> None:
    with (
        outside.programs(initialised) as programs,
        outside.watching(initialised, "allocate") as watcher,
        outside.a_bridge(initialised),
        outside.a_bridge(initialised),
    ):
        programs.wait_for_bridge()
        for number in range(200):
            programs.publish("allocate", an_allocate(number))

        assert [watcher.decode(record) for record in watcher.next(200)] == [
            an_allocate(number) for number in range(200)
        ]
        assert watcher.sees_nothing_more(for_s=1.5)
        assert programs.subscribers("allocate") == 1


def test_redis_is_subscribed_to_again_after_it_has_restarted(
    breakable_stack: devstack.Stack, initialised: config.Settings
) -> None:
    with outside.watching(initialised, "allocate") as watcher, outside.a_bridge(initialised):
        with outside.programs(initialised) as programs:
            programs.wait_for_bridge()
        breakable_stack.redis.stop()
        breakable_stack.redis.start()
        breakable_stack.redis.wait_ready()
        with outside.programs(initialised) as programs:
            programs.wait_for_bridge()
            programs.publish("allocate", an_allocate(1))

            assert watcher.decode(watcher.next(1)[0]) == an_allocate(1)


def test_what_is_published_while_kafka_is_down_is_forwarded_once_when_it_is_back(
    breakable_stack: devstack.Stack, initialised: config.Settings
) -> None:
    with (
        outside.programs(initialised) as programs,
        outside.watching(initialised, "allocate") as watcher,
        outside.a_bridge(initialised),
    ):
        programs.wait_for_bridge()
        breakable_stack.kafka.stop()
        for number in range(50):
            programs.publish("allocate", an_allocate(number))
        breakable_stack.kafka.start()
        breakable_stack.kafka.wait_ready()

        assert [watcher.decode(record) for record in watcher.next(50)] == [an_allocate(number) for number in range(50)]
        assert watcher.sees_nothing_more()
