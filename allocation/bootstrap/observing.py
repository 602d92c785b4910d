"""Compose what looks at a part beside its work: its own connections, so that it sees what the part cannot say."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.kafka import figures as kafka_figures
from allocation.adapters.postgres import figures as postgres_figures
from allocation.adapters.prometheus import hearing, looking, metrics
from allocation.adapters.redis import connections as redis_connections
from allocation.bootstrap import connections
from allocation.service_layer import signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import prometheus_client

    from allocation import config
    from allocation.service_layer import topics
    from allocation.service_layer.operations import status


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What hears a part, and whom to ask; each question blocks, and raises one of `expected` without an answer."""

    registry: prometheus_client.CollectorRegistry
    signals: signals.Standing
    database: Callable[[], status.DatabaseFigures]
    partitions: Callable[[], Sequence[status.Partition]]
    others: Mapping[str, Callable[[], object]]
    expected: tuple[type[Exception], ...]

    def expose(self, look: Callable[[], looking.Found]) -> None:
        """Let the metrics tell what is found at each scrape."""
        figures = functools.partial(looking.Figures, look=look)
        if isinstance(heard := self.signals, hearing.WorkerSignals):
            figures = functools.partial(figures, handled_at=heard.handled_at, committed=heard.committed)
        self.registry.register(figures())


@contextlib.contextmanager
def observation(settings: config.Settings, *, part: str) -> Iterator[Observation]:
    """Open what observes the worker, the relay, the bridge or the maintenance; whichever services are up."""
    names = connections.topic_names(settings)
    registry = metrics.new_registry()
    # The maintenance waits for hours, and is then in nobody's way: see `maintaining`.
    keeps = part != "maintenance"
    with connections.database(settings, keeps_connections=keeps) as engine, contextlib.ExitStack() as more:
        others: dict[str, Callable[[], object]] = {}
        if part in {"worker", "bridge"}:
            schemas = more.enter_context(
                avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config)
            )
            subject = avro_schemas.subject(names.allocate)
            others["schema registry"] = lambda: schemas.check(subject=subject)
        if part == "bridge":
            client = more.enter_context(redis_connections.connect(settings.redis_url))
            others["redis"] = lambda: redis_connections.check(client)
        kafka = kafka_figures.KafkaFigures(
            connections.kafka_clients(settings), names=names, group=settings.consumer_group
        )
        yield Observation(
            registry=registry,
            signals=_hearing(part, registry, names),
            database=postgres_figures.DatabaseFigures(engine),
            partitions=kafka.partitions,
            others=others,
            expected=connections.EXPECTED_FAILURES,
        )


def _hearing(part: str, registry: prometheus_client.CollectorRegistry, names: topics.TopicNames) -> signals.Standing:
    match part:
        case "worker":
            return hearing.WorkerSignals(registry)
        case "relay":
            return hearing.RelaySignals(registry, dead_letter_topic=names.dead_letter, journal_topic=names.journal)
        case "bridge":
            return hearing.BridgeSignals(registry)
        case _:
            return signals.Standing()
