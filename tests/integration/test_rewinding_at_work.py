"""`replay rewind --wait` while workers are at work: they leave the group for it, and come back by themselves."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from allocation import bootstrap
from allocation.adapters.kafka import group_offsets
from allocation.devstack import ports as devports
from allocation.service_layer.operations.replay import ports, rewinding
from tests import meanwhile, waiting
from tests.e2e import parts
from tests.integration import command_line, operator_commands, settled
from tests.integration import test_replay_operation as replaying

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from allocation import config

PARTITIONS = 2
REWIND = ("replay", "rewind", "--to-earliest", "--wait", "--why", "a test")
FOREIGN = "kcat"
BY_NAME = ("one", "other")


@pytest.fixture
def installation(settings: config.Settings) -> config.Settings:
    few = settings.model_copy(update={"partitions": PARTITIONS})
    bootstrap.initialise(few, on_progress=lambda _text: None)
    settled.send(few, [("CreateBatch", {"ref": "b1", "sku": "LAMP", "qty": 100_000}, "b1")])
    return few


class Orders:
    """Order lines, numbered on and on."""

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self.sent = 0

    def send(self, count: int) -> None:
        settled.send(self._settings, replaying.orders(*range(self.sent, self.sent + count)))
        self.sent += count

    def coming_in(self) -> AbstractContextManager[None]:
        """Send some now and then until the block ends."""
        return meanwhile.doing(self._send_until)

    def _send_until(self, done: threading.Event) -> None:
        while not done.wait(0.1):
            self.send(5)

    def await_all(self) -> None:
        waiting.wait_until(lambda: count(self._settings, "order_lines") == self.sent, deadline_s=60)


def count(settings: config.Settings, table: str) -> int:
    ((found,),) = replaying.rows(settings, f"SELECT count(*) FROM {table}")
    return int(found)


def intermissions(settings: config.Settings) -> int:
    return count(settings, "leases WHERE name = 'intermission'")


def assignment(port: int) -> str:
    """Return what the worker on this port says of its partitions."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/readyz")
        return str(json.loads(connection.getresponse().read())["problems"].get("assignment"))


@contextlib.contextmanager
def foreign_member(settings: config.Settings) -> Iterator[None]:
    """Run a member of the group that knows of no intermission, until the block ends."""
    client = confluent_kafka.Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.consumer_group,
            "client.id": FOREIGN,
            "group.instance.id": FOREIGN,
            "partition.assignment.strategy": "range",
        }
    )
    client.subscribe([f"{settings.topic_prefix}allocate"])
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            client.poll(0.1)
        client.unsubscribe()
        client.poll(1)
        client.close()

    polling = threading.Thread(target=poll)
    polling.start()
    try:
        observed = group_offsets.GroupOffsets(bootstrap.kafka_clients(settings), group=settings.consumer_group)
        waiting.wait_until(lambda: FOREIGN in [one.name for one in observed.members()], deadline_s=settled.DEADLINE_S)
        yield
    finally:
        stop.set()
        polling.join()


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        pytest.param("classic", (None, None), id="classic"),
        pytest.param("consumer", (None, None), id="consumer", marks=pytest.mark.long),
        pytest.param("classic", BY_NAME, id="classic static", marks=pytest.mark.long),
        pytest.param("consumer", BY_NAME, id="consumer static"),
    ],
)
def test_workers_make_room_for_a_rewind_and_do_nothing_twice(
    installation: config.Settings, protocol: str, names: tuple[str | None, ...]
) -> None:
    given = installation.model_copy(update={"group_protocol": protocol})
    orders = Orders(given)
    orders.send(100)
    with contextlib.ExitStack() as at_work:
        workers = [
            at_work.enter_context(parts.running("worker", given.model_copy(update={"consumer_instance_id": name})))
            for name in names
        ]
        for worker in workers:
            worker.logged("worker.assigned")
        orders.await_all()
        with orders.coming_in():
            done = operator_commands.Commands(given).lines(*REWIND, "--json")
            for worker in workers:
                assert "a test" in worker.logged("worker.leaves_group")["intermission"]
                worker.logged("worker.joins_again")
        assert sum(line["read_again"] for line in done) > 100
        orders.await_all()
        replaying.wait_until_reread(given)
        assert [worker.stop() for worker in workers] == [0, 0]
    batches = [json.loads(line) for worker in workers for line in worker.said if '"worker.batch"' in line]
    assert sum(batch["repeated"] for batch in batches) >= sum(line["read_again"] for line in done)
    assert count(given, "inbox") == orders.sent + 1
    assert count(given, "outbox WHERE sku IS NOT NULL") == orders.sent
    assert replaying.audited(given) == ["replay.rewound"] * len([line for line in done if line["position"]])


def test_whoever_stays_in_the_group_is_named_and_workers_come_back_also_when_the_command_is_killed(
    installation: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = devports.pick(1)
    cli = command_line.CommandLine(installation)
    orders = Orders(installation)
    with parts.running("worker", installation.model_copy(update={"health_port": port})) as worker:
        worker.logged("worker.assigned")
        with foreign_member(installation):
            with monkeypatch.context() as patch:
                patch.setattr(rewinding, "PATIENCE_S", 12.0)
                with pytest.raises(ports.CannotReplay, match=f"within 12 s: {FOREIGN} on [^,]*; they hang, or are no"):
                    operator_commands.Commands(installation).run(*REWIND)
            worker.logged("worker.leaves_group")
            worker.logged("worker.joins_again")

            with cli.started(*REWIND) as cut_short:
                command_line.wait_for(cut_short, f"waiting until these have left the group: {FOREIGN} on ")
                waiting.wait_until(lambda: "stands still since" in assignment(port))
                with pytest.raises(ports.CannotReplay, match="another rewind"):
                    operator_commands.Commands(installation).run(*REWIND)
                cut_short.send_signal(signal.SIGINT)
                assert cut_short.wait(settled.DEADLINE_S) == 130
            assert intermissions(installation) == 0
            worker.logged("worker.joins_again")

            with cli.started(*REWIND) as killed:
                command_line.wait_for(killed, f"waiting until these have left the group: {FOREIGN} on ")
                killed.kill()
                killed.wait()
            assert intermissions(installation) == 1
        worker.logged("worker.joins_again")
        orders.send(3)
        orders.await_all()
        assert worker.stop() == 0
    assert replaying.audited(installation) == []
