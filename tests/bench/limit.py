"""What the machine allows with these clients: the same rows and messages, and no domain.

`python -m tests.bench.limit handle | relay`. Nothing is decided, locked, recognised or guarded: a command
becomes a row each in order_lines, inbox and outbox, and the outbox goes out in Kafka transactions.
"""

from __future__ import annotations

import io
import itertools
import json
import select
import sys
from collections import Counter
from concurrent import futures
from typing import TYPE_CHECKING, Any

import confluent_kafka
import fastavro
import structlog

from allocation import bootstrap, config
from allocation.adapters.avro import schemas, wire
from allocation.adapters.postgres import dedicated, schema
from allocation.entrypoints import logs, stopping

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

log = structlog.get_logger()

_BATCH = 2_000
_PASS = 5_000
_POLL_S = 0.2
_COPY_BYTES = 1 << 20  # what the driver reads at once (default: 8 KiB)
_TRACE = "00-" + "0" * 31 + "1-" + "0" * 15 + "1-01"
# With %% for what differs from event to event.
_HEADERS = (
    '[["ce_id", "%s-0"], ["ce_source", "allocation"], ["ce_type", "allocation.LineAllocated"], '
    '["ce_time", "2026-01-01T00:00:00.000Z"], ["ce_specversion", "1.0"], ["content-type", "application/avro"], '
    f'["ce_sequence", "%d"], ["ce_causationid", "%s"], ["traceparent", "{_TRACE}"]]'
)


class Handler:
    """Makes rows of commands."""

    def __init__(self, settings: config.Settings, connection: Any) -> None:
        names = bootstrap.topic_names(settings)
        self._places: Counter[str] = Counter()
        self._cursor = connection.cursor()
        self._topic = names.line_allocated
        definitions = schemas.load()
        with bootstrap.database(settings) as engine:
            ids = schema.remembered_schemas(engine)[schemas.subject(names.line_allocated)]
        self._reader = fastavro.parse_schema(json.loads(definitions["Allocate"]))
        self._writer = fastavro.parse_schema(json.loads(definitions["LineAllocated"]))
        self._header = wire.header(ids[definitions["LineAllocated"]])

    def rows(self, fetched: Sequence[Any]) -> tuple[str, str, str]:
        """Return what is to be copied into order_lines, inbox and outbox."""
        read: Any = fastavro.schemaless_reader
        write, out = fastavro.schemaless_writer, io.BytesIO()
        reader, writer, header, topic, places = self._reader, self._writer, self._header, self._topic, self._places
        lines, inbox, outbox = [], [], []
        for message in fetched:
            body = io.BytesIO(message.value())
            body.seek(wire.HEADER_BYTES)
            fields: Any = read(body, reader)
            id_ = message.headers()[0][1].decode()
            sku = fields["sku"]
            place = places[sku]
            places[sku] = place + 1
            fields["batchref"] = batchref = "batch-" + sku
            out.seek(0)
            out.truncate()
            out.write(header)
            write(out, writer, fields)
            lines.append(f"{fields['orderid']}\t{sku}\t{fields['qty']}\t{batchref}\t{place}\n")
            inbox.append(
                f"{id_}\tbench\t1\t\\\\x{id_.replace('-', '')}\thandled\t{message.topic()}\t{message.partition()}\t"
                f"{message.offset()}\t{batchref}\t\\N\t\\N\n"
            )
            headers = _HEADERS % (id_, place, id_)
            outbox.append(f"0\t{topic}\t\\\\x{message.key().hex()}\t\\\\x{out.getvalue().hex()}\t{headers}\t{sku}\n")
        return "".join(lines), "".join(inbox), "".join(outbox)

    def write(self, rows: tuple[str, str, str]) -> None:
        """Copy them in, and commit."""
        cursor = self._cursor
        cursor.execute("BEGIN")
        self._copy("order_lines (orderid, sku, qty, batchref, place)", rows[0])
        self._copy(
            'inbox (id, source, attempt, digest, outcome, topic, partition, "offset", result, reason, error)', rows[1]
        )
        self._copy("outbox (shard, topic, key, value, headers, sku)", rows[2])
        cursor.execute("NOTIFY allocation; COMMIT")

    def _copy(self, table: str, rows: str) -> None:
        self._cursor.copy_expert(f"COPY {table} FROM STDIN", io.BytesIO(rows.encode()), _COPY_BYTES)


def handle(settings: config.Settings, stop: threading.Event) -> None:
    """Take commands, one in quiet times and many in a backlog."""
    group = {"group.id": settings.consumer_group, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50}
    consumer = confluent_kafka.Consumer(bootstrap.kafka_clients(settings).consumer(**group))
    consumer.subscribe([bootstrap.topic_names(settings).allocate], on_assign=lambda *_: log.info("worker.assigned"))
    with (
        bootstrap.database(settings) as engine,
        dedicated.connection(engine) as connection,
        futures.ThreadPoolExecutor(1) as writer,
    ):
        handler = Handler(settings, connection)
        writing: futures.Future[None] | None = None
        while not stop.is_set():
            first = consumer.poll(_POLL_S if writing is None else 0)
            fetched = [] if first is None else [first, *consumer.consume(_BATCH - 1, 0)]
            rows = handler.rows(fetched)
            if writing is not None:
                writing.result()
                consumer.commit(asynchronous=True)
                writing = None
            if len(fetched) == _BATCH:  # more are there: make rows of them meanwhile
                writing = writer.submit(handler.write, rows)
            elif fetched:
                handler.write(rows)
                consumer.commit(asynchronous=True)
    consumer.close()


def relay(settings: config.Settings, stop: threading.Event) -> None:
    """Send the outbox in transactions, and delete what was sent."""
    client = bootstrap.kafka_clients(settings)
    producers = [
        confluent_kafka.Producer(
            client.producer(**{"transactional.id": f"{settings.topic_prefix}limit-{number}", "retry.backoff.ms": 1})
        )
        for number in range(2)  # in turn: with one, Kafka may not have completed the last transaction yet
    ]
    for producer in producers:
        producer.init_transactions()
    turns = itertools.cycle(producers)
    with bootstrap.database(settings) as engine, dedicated.connection(engine) as connection:
        cursor = connection.cursor()
        cursor.execute("LISTEN allocation; SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off")
        log.info("relay.active")
        while not stop.is_set():
            cursor.execute(
                "SELECT id, topic, key, value, headers FROM outbox WHERE shard = 0 AND quarantined IS NULL "
                "ORDER BY shard, id LIMIT %s",
                (_PASS,),
            )
            rows = cursor.fetchall()
            if rows:
                _send(next(turns), rows)
                cursor.execute("DELETE FROM outbox WHERE id BETWEEN %s AND %s", (rows[0][0], rows[-1][0]))
            elif not connection.notifies:
                select.select([connection], (), (), _POLL_S)
            connection.poll()
            if not rows:
                connection.notifies.clear()


def _send(producer: confluent_kafka.Producer, rows: Sequence[Any]) -> None:
    decode = _headers
    producer.begin_transaction()
    for _, topic, key, value, headers in rows:
        producer.produce(topic, value, key, -1, None, None, 0, decode(headers))
    producer.commit_transaction()


def _headers(text: str) -> list[Any]:
    """Return the headers of `_HEADERS`, which need no parser."""
    return [tuple(pair.split('", "')) for pair in text[3:-3].split('"], ["')]


_JOBS: dict[str, Callable[[config.Settings, threading.Event], None]] = {"handle": handle, "relay": relay}

if __name__ == "__main__":
    loaded = config.load()
    logs.configure(loaded)
    _JOBS[sys.argv[1]](loaded, stopping.on_signal())
