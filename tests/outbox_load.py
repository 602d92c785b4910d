"""Writers that fill the outbox as workers do, and what others see of it in Kafka."""

from __future__ import annotations

import contextlib
import random
import uuid
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import confluent_kafka
import sqlalchemy

from allocation import bootstrap, config
from allocation.adapters.kafka import topic_specs, whole_logs
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import dedicated, notifications, schema, tables
from tests import databases, meanwhile, waiting

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from allocation import devstack

SKUS = 40
_WRITERS = 4
_MAX_ROWS = 6
_LONGEST_TRANSACTION_S = 0.01
_SETTLE_TIMEOUT_S = 60.0
# Some transactions end in nothing and leave gaps between the ids.
_ROLLED_BACK = 0.1
_INSERT = (
    "INSERT INTO outbox (shard, topic, key, value, headers, sku) "
    "SELECT 0, %s, %s, convert_to(%s || ':' || n, 'UTF8'), '[[\"ce_id\", \"1\"]]', %s FROM generate_series(%s, %s) AS n"
)


@contextlib.contextmanager
def an_installation(endpoints: devstack.Endpoints, *, lease_s: float = 0.5) -> Iterator[Load]:
    """Make what the relay needs of an installation: a database with its shard, and topics."""
    with databases.fresh(endpoints) as database:
        settings = config.load(
            kafka_bootstrap_servers=endpoints.kafka_bootstrap_servers,
            database_url=database.url.render_as_string(hide_password=False),
            topic_prefix=f"{database.url.database}.",
            relay_lease_s=lease_s,
        )
        names = bootstrap.topic_names(settings)
        kafka_topics.TopicAdmin(bootstrap.kafka_clients(settings)).create(topic_specs.topic_specs(names, partitions=3))
        schema.migrate(database)
        schema.bind(database, cluster_id="cluster", topic_prefix=settings.topic_prefix)
        bootstrap.create_relay_shards(settings, database)
        yield Load(settings, database, topic=names.line_allocated)


class Load:
    """Counts what was committed: the rows of each sku are numbered from 0 in the order in which they happened."""

    def __init__(self, settings: config.Settings, database: sqlalchemy.Engine, *, topic: str) -> None:
        self.database = database
        self.topic = topic
        self.settings = settings
        self.written: Counter[str] = Counter()
        self._random = random.Random(1)  # the same skus and pauses each time; how they interleave is for chance

    def write(self, *, sku: str = "LAMP", rows: int = 1) -> None:
        """Commit rows of one sku, and say so."""
        with self._connection() as connection:
            self._write(connection, sku, rows)

    def writing(self) -> AbstractContextManager[None]:
        """Write without pause until the block ends; ids are drawn in another order than they are committed."""
        return meanwhile.doing(*[self._write_until] * _WRITERS)

    def unsent(self) -> int:
        """Return how many rows wait."""
        with self.database.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one())

    def owner_pid(self) -> int | None:
        """Return the process id of the relay that has the lease, or had it last and was killed."""
        with self.database.connect() as connection:
            owner = connection.scalar(sqlalchemy.select(tables.leases.c.owner))
        return None if owner is None else int(owner.split(":")[1])

    def wait_until_sent(self) -> None:
        """Wait until the outbox is empty."""
        waiting.wait_until(lambda: self.unsent() == 0, deadline_s=60)

    def check_published(self) -> None:
        """Fail unless each row was published once, and those of a sku in their order."""
        expected = {sku: list(range(rows)) for sku, rows in self.written.items() if rows}
        assert published(self.settings, self.topic) == expected

    def check_published_so_far(self) -> None:
        """Fail if a row was published twice, or before another that comes first."""
        numbers = published(self.settings, self.topic, so_far=True)
        assert numbers == {sku: list(range(len(found))) for sku, found in numbers.items()}

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        with dedicated.connection(self.database) as connection:
            # The worker tries again where another one is held up; here each waits for as long as that takes.
            connection.cursor().execute("SET lock_timeout = 0")
            yield connection

    def _write_until(self, stopping: threading.Event) -> None:
        with self._connection() as connection:
            while not stopping.is_set():
                sku = f"SKU-{self._random.randrange(SKUS)}"
                is_rolled_back = self._random.random() < _ROLLED_BACK
                self._write(connection, sku, self._random.randint(1, _MAX_ROWS), is_rolled_back=is_rolled_back)

    def _write(self, connection: Any, sku: str, rows: int, *, is_rolled_back: bool = False) -> None:
        """Write in one transaction under the lock of the sku, as the worker does."""
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (sku,))
        first = self.written[sku]
        cursor.execute(_INSERT, (self.topic, sku.encode(), sku, sku, first, first + rows - 1))
        cursor.execute("SELECT pg_sleep(%s)", (self._random.uniform(0, _LONGEST_TRANSACTION_S),))
        if is_rolled_back:
            cursor.execute("ROLLBACK")
            return
        cursor.execute(notifications.NOTIFY)
        self.written[sku] = first + rows
        cursor.execute("COMMIT")


def published(settings: config.Settings, topic: str, *, so_far: bool = False) -> dict[str, list[int]]:
    """Return the numbers of each sku as an ordinary consumer of committed records reads them.

    `so_far` says that a transaction may be open, which hides what stands behind it; it is not waited for then.
    """
    if not so_far:
        # A relay is told of its commit, and deletes its rows, before the markers are written that let it be seen.
        whole_logs.WholeLogs(bootstrap.kafka_clients(settings), settle_timeout_s=_SETTLE_TIMEOUT_S).bounds([topic])
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([confluent_kafka.TopicPartition(topic, number, 0) for number in partitions])
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    unfinished = set(partitions)
    while unfinished:
        message = consumer.poll(30)
        assert message is not None, f"no end of partitions {unfinished}"
        error = message.error()
        if error is None:
            sku, _, number = (message.value() or b"").decode().partition(":")
            assert message.key() == sku.encode()
            numbers[sku].append(int(number))
        else:
            assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF  # noqa: SLF001 - a code of the client's own
            unfinished.discard(message.partition() or 0)
    consumer.close()
    return dict(numbers)
