"""What the service stands on dies and comes back, or is not what it was."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from confluent_kafka import admin

from allocation.adapters.postgres import engine, outbox_rows
from tests import waiting

if TYPE_CHECKING:
    from allocation import devstack
    from tests.chaos import processes
    from tests.chaos import system as systems

SERVICES = ("kafka", "postgres")
_PAUSE = threading.Event()  # never set


def start_both(system: systems.System) -> processes.Part:
    system.start("relay")
    return system.start("worker")


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("down_s", [0.0, 5.0])
def test_killed_under_load(
    service: str, down_s: float, breakable_stack: devstack.Stack, system: systems.System
) -> None:
    commands = system.workload("mixed")
    system.send(commands.first())
    worker = start_both(system)
    server = getattr(breakable_stack, service)
    with system.under_load(commands):
        for _ in range(2):
            system.await_progress(worker, batches=3)
            server.kill()
            _PAUSE.wait(down_s)
            server.start()
            server.wait_ready()
        system.await_progress(worker, batches=3)
    system.note(f"{service} by SIGKILL")
    system.send(commands.rest())
    system.verify()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_everything_is_killed_at_once(breakable_stack: devstack.Stack, system: systems.System) -> None:
    commands = system.workload("storm")
    system.send(commands.first())
    with system.under_load(commands):
        for _ in range(2):
            worker = start_both(system)
            system.await_progress(worker, batches=5)
            breakable_stack.kafka.kill()
            breakable_stack.postgres.kill()
            system.kill_all()
            breakable_stack.start()
    start_both(system)
    system.note("power cut")
    system.verify()


class Topics:
    """The installation's topics in the hands of an operator."""

    def __init__(self, system: systems.System) -> None:
        self._prefix = system.settings.topic_prefix
        self._client = admin.AdminClient({"bootstrap.servers": system.settings.kafka_bootstrap_servers})

    def create_anew(self, topic: str, *, partitions: int) -> None:
        """Delete a topic with all that is in it, and make it again."""
        name = self._prefix + topic
        self._client.delete_topics([name])[name].result()
        waiting.wait_until(lambda: self._is_made(name, partitions), deadline_s=30.0)

    def set_config(self, topic: str, name: str, value: str) -> None:
        """Change a setting of a topic."""
        entry: Any = admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
        resource = admin.ConfigResource("topic", self._prefix + topic, incremental_configs=[entry])
        self._client.incremental_alter_configs([resource])[resource].result()

    def _is_made(self, name: str, partitions: int) -> bool:
        try:
            self._client.create_topics([admin.NewTopic(name, partitions, 1)])[name].result()
        except confluent_kafka.KafkaException:
            return False
        return True


@pytest.mark.long
def test_a_topic_that_is_deleted_and_made_again_is_set_aside(system: systems.System) -> None:
    commands = system.workload("allocate")
    partitions = system.settings.partitions
    system.send(commands.first() + commands.take(200))
    worker = start_both(system)
    system.drain()
    before = system.observe()
    Topics(system).create_anew("allocate", partitions=partitions)
    system.log = system.new_log()
    # More than there was before: an offset alone does not tell.
    more = commands.take(600)
    system.send(more)
    touched = {number for (_, number), end in system.log.ends(["allocate"]).items() if end}
    waiting.wait_until(
        lambda: {line["partition"] for line in worker.lines("worker.partition_diverged")} >= touched, deadline_s=60.0
    )
    system.note("set aside")
    batches = [draft for draft in more if draft.topic == "create_batch"]
    system.drain_topics("create_batch", "change_batch_quantity")
    assert len(system.observe().batches) == len(before.batches) + len(batches)
    worker.stop()
    again = system.start("worker")
    waiting.wait_until(
        lambda: {line["partition"] for line in again.lines("worker.partition_diverged")} >= touched, deadline_s=60.0
    )
    system.stop()
    after = system.observe()
    assert after.lines == before.lines
    assert [entry for entry in after.journal if entry.topic == "allocate"] == [
        entry for entry in before.journal if entry.topic == "allocate"
    ]


@pytest.mark.long
def test_rows_that_kafka_refuses_hold_up_their_own_sku_alone(system: systems.System) -> None:
    topics = Topics(system)
    # Larger than the marker of a transaction, smaller than any event.
    topics.set_config("out_of_stock", "max.message.bytes", "150")
    commands = system.workload("storm")
    system.send(commands.first() + commands.take(150))
    start_both(system)
    # Of a sku that is always in stock no row is ever refused.
    plenty = system.workload("plenty")
    system.send(plenty.first() + plenty.take(150))
    system.drain()
    seen = system.observe()
    held_back = {sku for _, sku in seen.quarantined}
    assert held_back
    assert not any(sku and sku.startswith("plenty") for sku in held_back)
    told = {event.key for event in seen.events}
    assert {f"plenty-{number}".encode() for number in range(3)} <= told
    topics.set_config("out_of_stock", "max.message.bytes", "1000000")
    database = engine.create(system.settings.database_url)
    for row_id, _ in sorted(seen.quarantined):
        outbox_rows.release(database, row_id=row_id)
    database.dispose()
    system.note("quarantine")
    system.verify()
