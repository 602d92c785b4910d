"""The four servers together: started in parallel, stopped in parallel, each to be had by name."""

from __future__ import annotations

import contextlib
import json
from concurrent import futures
from typing import TYPE_CHECKING, Self

from allocation.devstack import (
    artifacts,
    cache,
    errors,
    kafka,
    ports,
    postgres,
    process,
    profiles,
    redis,
    registry,
    snapshots,
)
from allocation.devstack.endpoints import Endpoints

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_PORTS_FILE = "ports.json"
_PORT_NAMES = ("kafka", "kafka_controller", "postgres", "redis", "registry")


def install(on_progress: Callable[[str], None]) -> None:
    """Fetch and prepare all that a first start would: a minute or two, or nothing.

    Raises DevstackError when something cannot be fetched.
    """
    artifacts.install(on_progress)
    snapshots.record_missing(on_progress)


class Stack:
    """Kafka, PostgreSQL, Redis and a schema registry, with their data below one directory.

    The directory may be used again: data and, if they are still free, ports stay the same.
    Leaving the `with` block stops everything. Not for use by several threads at once, but each
    service may be stopped and started again while the others run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        profile: profiles.Profile = profiles.Profile.SMALL,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self._on_progress = on_progress or (lambda _: None)
        self._lock = contextlib.ExitStack()
        self._is_locked = False
        self._ports = numbers = _ports(self.directory)
        self.kafka = kafka.Kafka(
            directory=self.directory / "kafka",
            port=numbers["kafka"],
            controller_port=numbers["kafka_controller"],
            profile=profile,
            # Measurements are of a broker that runs as it does in production.
            snapshot=None if profile is profiles.Profile.PRODUCTION else snapshots.find(snapshots.KAFKA),
        )
        self.postgres = postgres.Postgres(
            directory=self.directory / "postgres", port=numbers["postgres"], profile=profile
        )
        self.redis = redis.Redis(directory=self.directory / "redis", port=numbers["redis"])
        self.registry = registry.Registry(
            directory=self.directory / "registry", port=numbers["registry"], snapshot=snapshots.find(snapshots.REGISTRY)
        )

    @property
    def services(self) -> tuple[process.Service, ...]:
        """All four."""
        return (self.kafka, self.postgres, self.redis, self.registry)

    @property
    def endpoints(self) -> Endpoints:
        """Where they listen."""
        return Endpoints(
            kafka_bootstrap_servers=self.kafka.bootstrap_servers,
            database_url=self.postgres.url,
            redis_url=self.redis.url,
            schema_registry_url=self.registry.url,
        )

    def start(self) -> Endpoints:
        """Start everything, fetching what is missing, and return when all of it answers.

        What runs already goes on. Raises DevstackError if a part cannot be started (then all are
        stopped again), or if another stack uses the directory.
        """
        self._take_directory()
        install(self._on_progress)
        try:
            self._in_parallel(self._start_one)
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def stop(self) -> None:
        """Stop everything and wait until it is gone; the data stay."""
        self._in_parallel(lambda service: service.stop())
        self._lock.close()
        self._is_locked = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _take_directory(self) -> None:
        if self._is_locked:
            return
        self._is_locked = self._lock.enter_context(cache.try_locked(self.directory / "lock"))
        if not self._is_locked:
            self._lock.close()
            message = f"Another stack is running with the data in {self.directory}; stop it, or use another directory."
            raise errors.DevstackError(message)
        (self.directory / _PORTS_FILE).write_text(json.dumps(self._ports))

    def _start_one(self, service: process.Service) -> None:
        service.start()
        service.wait_ready()
        self._on_progress(f"{service.title} is up on port {service.port}.")

    def _in_parallel(self, action: Callable[[process.Service], None]) -> None:
        with futures.ThreadPoolExecutor(len(self.services)) as pool:
            running = [pool.submit(action, service) for service in self.services]
            try:
                for future in running:
                    future.result()
            except BaseException:
                # Ctrl-C, or one that failed: the others need not be waited for.
                for service in self.services:
                    service.kill()
                raise


def _ports(directory: Path) -> dict[str, int]:
    """Return the ports of the last time, or others where those are taken."""
    file = directory / _PORTS_FILE
    numbers: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    if set(numbers) == set(_PORT_NAMES) and all(map(ports.is_free, numbers.values())):
        return numbers
    return dict(zip(_PORT_NAMES, ports.pick(len(_PORT_NAMES)), strict=True))
