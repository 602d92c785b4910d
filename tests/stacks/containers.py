"""The services as containers of the images in the compose file; needs a Docker engine.

Leaving `running` removes them. A killed test run leaves that to testcontainers' own reaper.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

from allocation import devstack
from allocation.devstack import kafka, ports

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPOSE_FILE = Path(__file__).parents[2] / "docker-compose.kafka.yml"

_NAME = "allocation"
_KAFKA_PORT = 9092
_REGISTRY_PORT = 8080
# testcontainers looks once a second by default, which is longer than Redis and PostgreSQL take.
_POLL_INTERVAL_S = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerStack:
    """Addresses of published ports."""

    endpoints: devstack.Endpoints


@contextlib.contextmanager
def running(_directory: Path) -> Iterator[ContainerStack]:
    """Start the four containers side by side, and remove them with their data at the end."""
    (kafka_port,) = ports.pick(1)
    broker, postgres, redis, registry = _broker(kafka_port), _postgres(), _redis(), _registry()
    with contextlib.ExitStack() as started:
        _start_all(started, (broker, postgres, redis, registry))
        yield ContainerStack(
            devstack.Endpoints(
                kafka_bootstrap_servers=f"{broker.get_container_host_ip()}:{kafka_port}",
                database_url=postgres.get_connection_url(),
                redis_url=f"redis://{_address(redis, redis.port)}/0",
                schema_registry_url=f"http://{_address(registry, _REGISTRY_PORT)}/apis/ccompat/v7",
            )
        )


def _start_all(started: contextlib.ExitStack, containers: tuple[DockerContainer, ...]) -> None:
    for container in containers:
        started.callback(container.stop)
    with futures.ThreadPoolExecutor(len(containers)) as pool:
        for future in [pool.submit(container.start) for container in containers]:
            future.result()


def _broker(port: int) -> DockerContainer:
    """Make a broker that tells its clients the port on this host, which must be known before it starts.

    It calls itself, to end transactions, on a listener of its own: that port does not exist in the container.
    """
    settings = {
        **kafka.SETTINGS,
        "listeners": f"INSIDE://:29092,OUTSIDE://:{_KAFKA_PORT},CONTROLLER://:9093",
        "advertised.listeners": f"INSIDE://localhost:29092,OUTSIDE://localhost:{port}",
        "listener.security.protocol.map": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INSIDE",
        "controller.quorum.voters": "1@localhost:9093",
    }
    # The image's convention: KAFKA_LOG_DIRS for log.dirs.
    environment = {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in settings.items()}
    return (
        DockerContainer(_image("apache/kafka"), env=environment)
        .with_bind_ports(_KAFKA_PORT, port)
        .waiting_for(LogMessageWaitStrategy("Kafka Server started").with_poll_interval(_POLL_INTERVAL_S))
    )


def _postgres() -> PostgresContainer:
    # As many connections as the stack of processes allows: every test has a database and pools of its own.
    return PostgresContainer(
        _image("postgres"),
        username=_NAME,
        password=_NAME,
        dbname=_NAME,
        command="postgres -c max_connections=200",
    )


def _redis() -> RedisContainer:
    return RedisContainer(_image("redis"))


def _registry() -> DockerContainer:
    ready = HttpWaitStrategy(_REGISTRY_PORT, "/apis/ccompat/v7/subjects").with_poll_interval(_POLL_INTERVAL_S)
    return (
        DockerContainer(_image("apicurio/apicurio-registry-mem")).with_exposed_ports(_REGISTRY_PORT).waiting_for(ready)
    )


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


def _image(name: str) -> str:
    """Return the image with the tag that the compose file pins, or the one named instead: one place to change it."""
    found = re.search(rf"image: (?:\${{(\w+):-)?({re.escape(name)}:[\w.-]+)", COMPOSE_FILE.read_text())
    if found is None:
        message = f"{COMPOSE_FILE} names no image {name}:TAG; tests/stacks/containers.py takes the tag from there."
        raise devstack.DevstackError(message)
    variable, image = found.groups()
    return os.environ.get(variable or "", image)
