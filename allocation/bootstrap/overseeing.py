"""Compose what looks at a whole installation again and again: each question over connections that it keeps."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation import views
from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.kafka import flow_figures as kafka_figures
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import flow_figures as postgres_figures
from allocation.adapters.postgres import schema
from allocation.adapters.redis import connections as redis_connections
from allocation.bootstrap import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from allocation import config
    from allocation.service_layer.operations import status
    from allocation.service_layer.operations.overview import figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversight:
    """Whom to ask; each question blocks, may be asked from any thread, and raises one of `expected` without an answer.

    `belongs` returns the cluster's id, or raises when the database belongs to another; each of `others` raises when
    the service of that name does not answer.
    """

    logs: Callable[[], figures.Logs]
    members: Callable[[], Sequence[status.Member]]
    belongs: Callable[[], str]
    work: Callable[[], figures.Work]
    stock: Callable[[], figures.Stock]
    products: Callable[[str, int, int], views.StockPage]
    others: Mapping[str, Callable[[], object]]
    expected: tuple[type[Exception], ...]


@contextlib.contextmanager
def oversight(settings: config.Settings) -> Iterator[Oversight]:
    """Open what looks at an installation, whichever of its parts are up."""
    names, clients = connections.topic_names(settings), connections.kafka_clients(settings)
    kafka = kafka_figures.FlowFigures(clients, names=names)
    with (
        connections.database(settings) as engine,
        avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry,
        redis_connections.connect(settings.redis_url) as client,
    ):
        database = postgres_figures.FlowFigures(engine, events=names.events.values())

        def belongs() -> str:
            cluster_id = kafka.cluster_id()
            schema.check_binding(engine, cluster_id=cluster_id, topic_prefix=settings.topic_prefix)
            return cluster_id

        def products(prefix: str, first: int, count: int) -> views.StockPage:
            with postgres.reading(engine) as connection:
                return views.stock(connection, prefix=prefix, first=first, count=count)

        yield Oversight(
            logs=kafka,
            members=functools.partial(kafka_figures.members, clients, group=settings.consumer_group),
            belongs=belongs,
            work=database.work,
            stock=database.stock,
            products=products,
            others={
                "schema registry": lambda: registry.check(subject=avro_schemas.subject(names.allocate)),
                "Redis": lambda: redis_connections.check(client),
            },
            expected=connections.EXPECTED_FAILURES,
        )
