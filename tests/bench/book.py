"""The book's way: one message, one ORM unit of work, commit, produce, flush, commit the offset.

`python -m tests.bench.book handle`, as the literature has it, with Kafka where the book has Redis. What it
commits and what it publishes may differ after a crash.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import confluent_kafka
import fastavro
import sqlalchemy
import structlog
from sqlalchemy import orm

from allocation import bootstrap, config
from allocation.adapters.avro import schemas, wire
from allocation.adapters.postgres import schema
from allocation.entrypoints import logs, stopping
from tests.bench import book_model

if TYPE_CHECKING:
    from allocation.service_layer import topics

log = structlog.get_logger()

_POLL_S = 0.2


def create_tables(settings: config.Settings) -> None:
    """Make the book's tables in a schema of their own."""
    engine = sqlalchemy.create_engine(settings.database_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.schema.CreateSchema("book"))
        book_model.registry.metadata.create_all(connection)
    engine.dispose()


class Consumer:
    """Handles one command after another."""

    def __init__(self, settings: config.Settings) -> None:
        names = bootstrap.topic_names(settings)
        engine = sqlalchemy.create_engine(settings.database_url, isolation_level="REPEATABLE READ")
        self._session_factory = orm.sessionmaker(bind=engine)
        definitions = schemas.load()
        with bootstrap.database(settings) as database:
            ids = schema.remembered_schemas(database)[schemas.subject(names.line_allocated)]
        self._reader = fastavro.parse_schema(json.loads(definitions["Allocate"]))
        self._writer = fastavro.parse_schema(json.loads(definitions["LineAllocated"]))
        self._header = wire.header(ids[definitions["LineAllocated"]])
        self._topic = names.line_allocated
        self._producer = confluent_kafka.Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
        self._consumer = _subscribed(settings, names)

    def handle_next(self) -> None:
        """Wait for a command, and handle it."""
        message = self._consumer.poll(_POLL_S)
        if message is None:
            return
        body = io.BytesIO(message.value() or b"")
        body.seek(wire.HEADER_BYTES)
        fields: Any = fastavro.schemaless_reader(body, self._reader, None)
        with book_model.UnitOfWork(self._session_factory) as uow:
            product = uow.products.get(fields["sku"])
            if product is None:
                raise ValueError(f"invalid sku {fields['sku']}")
            product.allocate(book_model.OrderLine(**fields))
            events = uow.collect_new_events()
            uow.commit()
        for event in events:
            self._publish(event)
        self._consumer.commit(message=message, asynchronous=False)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _publish(self, event: book_model.Allocated) -> None:
        out = io.BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._writer, vars(event))
        self._producer.produce(self._topic, out.getvalue(), event.sku)
        self._producer.flush()


def _subscribed(settings: config.Settings, names: topics.TopicNames) -> confluent_kafka.Consumer:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.consumer_group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([names.allocate], on_assign=lambda *_: log.info("worker.assigned"))
    return consumer


def _main() -> None:
    settings = config.load()
    logs.configure(settings)
    stop = stopping.on_signal()
    book_model.start_mappers()
    consumer = Consumer(settings)
    while not stop.is_set():
        consumer.handle_next()
    consumer.close()


if __name__ == "__main__":
    _main()
