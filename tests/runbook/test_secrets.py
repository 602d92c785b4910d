"""Secrets are changed on an installation at work: the new one is good, the old one no longer, and nothing is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import redis

from allocation import bootstrap
from allocation.adapters.email import mailer
from allocation.adapters.kafka import producer
from allocation.devstack import ports
from allocation.service_layer import external_events, messages
from allocation.service_layer import ports as outside
from allocation.service_layer.bridging.ports import Announcement
from allocation.service_layer.operations import producing
from tests import certificates, meanwhile, waiting
from tests.chaos.oracle import avro
from tests.runbook import doors, firing, incoming, stand_ins
from tests.runbook import host as hosts

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import sqlalchemy

    from allocation import config

OLD, NEW = "first", "second"
OLD_TOKEN, NEW_TOKEN = "the-first-long-token", "the-second-long-token"
BRIDGE = "allocation-bridge@1"
# What the run-book says that the service needs.
_RIGHTS = ("resetchannels", "-@all", "+ping", "+publish", "+subscribe", "+unsubscribe")
_PAUSE_S = 0.05  # between two orders


class World:
    """An installation whose services ask for a password each."""

    def __init__(self, host: hosts.Host, tables: sqlalchemy.Engine, door: doors.Registry, mails: doors.Mails) -> None:
        self.host = host
        self.tables = tables
        self.door = door
        self.mails = mails
        self.orders = incoming.Orders(host, tables)

    def await_orders(self, beginning: str, expected: set[str]) -> None:
        """Wait until these orders are allocated, and no others that begin so."""
        query = f"SELECT orderid FROM order_lines WHERE starts_with(orderid, '{beginning}')"
        waiting.wait_until(
            lambda: {str(row[0]) for row in incoming.rows(self.tables, query)} == expected,
            deadline_s=hosts.DEADLINE_S,
        )


class Programs:
    """Programs of old: they publish orders, again when nobody was there, and hear what became of them."""

    def __init__(self, url: str, prefix: str) -> None:
        self.published: set[str] = set()
        client: Any = redis.Redis
        self._client = client.from_url(url, decode_responses=True)
        self._channel = f"{prefix}allocate"
        self._heard = self._client.pubsub(ignore_subscribe_messages=True)
        self._heard.subscribe(f"{prefix}line_allocated")
        self._heard.get_message(timeout=10)
        self._allocated: set[str] = set()

    def close(self) -> None:
        self._heard.close()
        self._client.close()

    def publishing(self) -> AbstractContextManager[None]:
        """Publish for as long as the block takes."""
        return meanwhile.doing(self._publish_until)

    def have_heard_of_all(self) -> bool:
        """Tell whether all that was published was said to be allocated."""
        while (message := self._heard.get_message(timeout=0.01)) is not None:
            self._allocated.add(json.loads(message["data"])["orderid"])
        return self._allocated >= self.published

    def _publish_until(self, done: threading.Event) -> None:
        for number in itertools.count():
            order = {"orderid": f"old-{number}", "sku": "LAMP", "qty": 1}
            waiting.wait_until(lambda: bool(self._client.publish(self._channel, json.dumps(order))), deadline_s=30.0)  # noqa: B023 - called at once
            self.published.add(f"old-{number}")
            if done.wait(_PAUSE_S):
                return


@pytest.fixture
def world(
    host: hosts.Host,
    settings: config.Settings,
    tables: sqlalchemy.Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """Deploy one whose secrets are all the old ones; nobody asks for another yet."""
    certificate = certificates.write(tmp_path / "certificate.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    mail_users = tmp_path / "sasldb"
    stand_ins.set_password(mail_users, "allocation", OLD)
    stand_ins.set_password(host.registry_users, "allocation-1", OLD)
    mail_port, console_port, host.health_ports[BRIDGE] = ports.pick(3)
    with (
        a_redis_user(settings) as redis_url,
        doors.a_registry(settings.schema_registry_url, host.registry_users) as door,
        doors.a_mail_server(f"{doors.HOST}:{mail_port}", mail_users, tls) as mails,
    ):
        host.set(
            host.environment
            | {
                "ALLOCATION_REDIS_URL": redis_url,
                "ALLOCATION_SCHEMA_REGISTRY_URL": door.url,
                "ALLOCATION_SCHEMA_REGISTRY_CONFIG": json.dumps({"basic.auth.user.info": f"allocation-1:{OLD}"}),
                "ALLOCATION_SMTP_URL": f"smtp://allocation:{OLD}@{doors.HOST}:{mail_port}",
                "ALLOCATION_CONSOLE_PORT": str(console_port),
                "ALLOCATION_CONSOLE_TOKEN": OLD_TOKEN,
            }
        )
        host.more |= {"OLD_PASSWORD": OLD, "NEW_PASSWORD": NEW, "REDIS_ADMIN": settings.redis_url}
        host.more |= {"NEW_TOKEN": NEW_TOKEN, stand_ins.SASL_FILE: str(mail_users)}
        host.follow("deploy")
        world = World(host, tables, door, mails)
        world.orders.stock()
        yield world
        host.close()


@contextlib.contextmanager
def a_redis_user(settings: config.Settings) -> Iterator[str]:
    """Let a user in who may do what the service needs; yields its URL."""
    with contextlib.closing(redis.Redis.from_url(settings.redis_url)) as client:
        administrator: Any = client
        administrator.execute_command(
            "ACL", "SETUSER", "allocation", "reset", "on", f">{OLD}", *_RIGHTS, f"&{settings.topic_prefix}*"
        )
        yield settings.redis_url.replace("://", f"://allocation:{OLD}@")
        administrator.execute_command("ACL", "DELUSER", "allocation")


@pytest.mark.long
def test_every_secret_of_the_other_services(world: World, settings: config.Settings) -> None:
    change_redis(world, settings)
    change_registry(world, settings)
    change_mail_server(world)
    change_console(world)
    world.orders.await_all()
    assert "agree" in world.host.run("allocation verify")


def change_redis(world: World, settings: config.Settings) -> None:
    old_url = world.host.environment["ALLOCATION_REDIS_URL"]
    with contextlib.closing(Programs(settings.redis_url, settings.topic_prefix)) as programs:
        with programs.publishing():
            world.host.follow("rotate the password of Redis")
        world.await_orders("old-", programs.published)
        waiting.wait_until(programs.have_heard_of_all, deadline_s=hosts.DEADLINE_S)
    assert "bridge.retry" not in world.host.log(BRIDGE)
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(old_url).ping()


def change_registry(world: World, settings: config.Settings) -> None:
    order_in_a_schema_of_others(world, settings, "others-1")
    with world.orders.coming_in():
        world.host.follow("rotate the user of the registry")
    order_in_a_schema_of_others(world, settings, "others-2")
    world.await_orders("others-", {"others-1", "others-2"})
    assert {user for user, _ in world.door.answers} == {"allocation-1", "allocation-2"}
    assert 401 not in {status for _, status in world.door.answers}
    assert httpx2.get(f"{world.door.url}/subjects", auth=("allocation-1", OLD)).status_code == 401
    assert httpx2.get(f"{world.door.url}/subjects", auth=("allocation-2", NEW)).status_code == 200


def order_in_a_schema_of_others(world: World, settings: config.Settings, orderid: str) -> None:
    """Send an order whose schema only the registry knows, and wait until it is allocated."""
    topic = f"{settings.topic_prefix}allocate"
    schema = avro.schema("allocate") | {"doc": f"that of {orderid}"}
    subject = f"{settings.schema_registry_url}/subjects/{topic}-value/versions"
    schema_id = httpx2.post(subject, json={"schema": json.dumps(schema)}).json()["id"]
    value = avro.encode("allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1}, schema_id)
    with producer.Producer(bootstrap.kafka_clients(world.host.settings)) as kafka:
        kafka.send(messages.OutboxMessage(topic, b"LAMP", value, ()))
    world.await_orders(orderid, {orderid})


def change_mail_server(world: World) -> None:
    old_url = world.host.environment["ALLOCATION_SMTP_URL"]
    alerts = firing.Alerts(world.host.health_ports)

    def run_out_between(line: str) -> None:
        if "saslpasswd2" in line:
            run_out_of(world, "BETWEEN")
            alerts.await_firing("AllocationNotReady", check="to email")

    run_out_of(world, "BEFORE")
    waiting.wait_until(lambda: len(world.mails.subjects) == 1, deadline_s=hosts.DEADLINE_S)
    world.host.follow("rotate the password of the mail server", after=run_out_between)
    run_out_of(world, "AFTER")
    waiting.wait_until(lambda: len(world.mails.subjects) >= 3, deadline_s=hosts.DEADLINE_S)
    assert sorted(world.mails.subjects) == [f"Out of stock for {sku}" for sku in ("AFTER", "BEFORE", "BETWEEN")]
    alerts.await_quiet("AllocationNotReady")
    late = Announcement("late", external_events.OutOfStock(sku="LATE", orderid="o", qty=1))
    with pytest.raises(outside.DependencyDown, match="Authentication"):
        mailer.Mailer(url=old_url, sender="a@example.com", recipient="b@example.com").deliver([late])


def run_out_of(world: World, sku: str) -> None:
    """Order more than there is."""
    with bootstrap.command_sender(world.host.settings) as sender:
        sender.send(producing.GivenCommand("CreateBatch", {"ref": f"of {sku}", "sku": sku, "qty": 1, "eta": None}))
        sender.send(producing.GivenCommand("Allocate", {"orderid": f"much {sku}", "sku": sku, "qty": 2}))


def change_console(world: World) -> None:
    world.host.control("start", ["allocation-console@1"])
    assert await_answer(world, OLD_TOKEN) == 200
    world.host.follow("rotate the token of the console")
    assert await_answer(world, NEW_TOKEN) == 200
    assert await_answer(world, OLD_TOKEN) == 401


def await_answer(world: World, token: str) -> int:
    """Give the console a token as its page does, and return the status."""
    url = f"http://localhost:{world.host.environment['ALLOCATION_CONSOLE_PORT']}/api/token"
    found: list[int] = []

    def has_answered() -> bool:
        with contextlib.suppress(httpx2.TransportError):
            found.append(httpx2.post(url, json={}, headers={"Authorization": f"Bearer {token}"}).status_code)
        return bool(found)

    waiting.wait_until(has_answered, deadline_s=hosts.DEADLINE_S)
    return found[0]
