"""An installation for one case: topics and a database that nobody has used before, gone afterwards."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any, Literal

import confluent_kafka
import psycopg2
import sqlalchemy
from confluent_kafka import admin

from allocation import bootstrap, config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


@contextlib.contextmanager
def fresh(
    endpoints: devstack.Endpoints,
    *,
    session_timeout_ms: int = 6000,
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once",
) -> Iterator[config.Settings]:
    """Lend the settings of an installation that is initialised and empty."""
    name = f"bench_{uuid.uuid4().hex[:8]}"
    run(endpoints.database_url, f"CREATE DATABASE {name}")
    url = sqlalchemy.make_url(endpoints.database_url).set(database=name)
    settings = config.load(
        kafka_bootstrap_servers=endpoints.kafka_bootstrap_servers,
        database_url=url.render_as_string(hide_password=False),
        redis_url=endpoints.redis_url,
        schema_registry_url=endpoints.schema_registry_url,
        topic_prefix=f"{name}.",
        consumer_group=name,
        session_timeout_ms=session_timeout_ms,
        delivery=delivery,
    )
    try:
        bootstrap.initialise(settings, on_progress=lambda _: None)
        yield settings
    finally:
        run(endpoints.database_url, f"DROP DATABASE {name} WITH (FORCE)")
        _delete_topics(settings)


def run(database_url: str, *statements: str) -> list[Any]:
    """Run statements, each a transaction, and return the rows of the last one."""
    with contextlib.closing(connect(database_url)) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def connect(database_url: str) -> Any:
    """Return the driver's connection, in autocommit mode."""
    connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    return connection


def _delete_topics(settings: config.Settings) -> None:
    client = admin.AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    mine = [name for name in client.list_topics(timeout=10).topics if name.startswith(settings.topic_prefix)]
    for done in client.delete_topics(mine).values():
        with contextlib.suppress(confluent_kafka.KafkaException):
            done.result()
