"""Many commands at once, sent as others send them, and what the database holds afterwards."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import sqlalchemy

from allocation import bootstrap
from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation import config

DEADLINE_S = 90.0
_ANY_PARTITION = -1
_FLUSH_S = 60


class Flood:
    """Sends commands without headers, and reads the tables of the installation."""

    def __init__(self, settings: config.Settings) -> None:
        self._topics = bootstrap.topic_names(settings).commands
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "message.max.bytes": 1_048_588,
            }
        )
        self._database = sqlalchemy.create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
        with bootstrap.database(settings) as engine, bootstrap.serde(settings, engine) as values:
            self._values = values
        self.sent = 0

    def send(self, record_name: str, fields: Mapping[str, object], *, partition: int = _ANY_PARTITION) -> None:
        """Put a command on its topic, at its key's place unless told otherwise; `flush` waits for all."""
        value = self._values.serialize(record_name, fields)
        self.send_bytes(record_name, value, key=str(fields["sku"]).encode(), partition=partition)

    def send_bytes(
        self, record_name: str, value: bytes, *, key: bytes | None = None, partition: int = _ANY_PARTITION
    ) -> None:
        """Put anything on the topic of a record."""
        self._producer.produce(self._topics[record_name], value, key, partition)
        self.sent += 1

    def flush(self) -> None:
        """Wait until all that was sent is acknowledged."""
        assert self._producer.flush(_FLUSH_S) == 0

    def create(self, *skus: str, qty: int = 2**31 - 1) -> None:
        """Create a batch for each of these."""
        for sku in skus:
            self.send("CreateBatch", {"ref": f"batch of {sku}", "sku": sku, "qty": qty, "eta": None})
        self.flush()

    def allocate(self, sku: str, first: int, count: int, *, partition: int = _ANY_PARTITION) -> None:
        """Ask for one piece for each of so many orders."""
        for number in range(first, first + count):
            self.send("Allocate", {"orderid": f"order-{number}", "sku": sku, "qty": 1}, partition=partition)
        self.flush()

    def rows(self, statement: str) -> list[Any]:
        """Return what a statement finds in the database."""
        with self._database.connect() as connection:
            return list(connection.exec_driver_sql(statement))

    def execute(self, statement: str) -> None:
        """Change something in the database."""
        with self._database.connect() as connection:
            connection.exec_driver_sql(statement)

    def number(self, statement: str) -> int:
        """Return the one number that a statement finds."""
        return int(self.rows(statement)[0][0] or 0)

    @property
    def handled(self) -> int:
        """How many records lie below the positions."""
        return self.number("SELECT sum(next_offset) FROM positions")

    @property
    def outbox(self) -> int:
        """How many rows wait in the outbox."""
        return self.number("SELECT count(*) FROM outbox")

    def await_handled(self, count: int | None = None, *, deadline_s: float = DEADLINE_S) -> float:
        """Wait until so many records are handled, all by default; return how many seconds that took."""
        wanted = self.sent if count is None else count
        began = time.monotonic()
        waiting.wait_until(lambda: self.handled >= wanted, deadline_s=deadline_s)
        return time.monotonic() - began

    def assert_stands_still(self, *, for_s: float = 1.5) -> None:
        """Fail if anything is handled meanwhile."""
        before = self.handled
        with contextlib.suppress(AssertionError):
            waiting.wait_until(lambda: self.handled != before, deadline_s=for_s)
        assert self.handled == before

    def assert_settled(self, *, lines: int) -> None:
        """Fail unless all is handled once: so many lines, no batch oversold, an event each, in order without gap.

        The events are looked for in the outbox: no relay may have run.
        """
        assert self.handled == self.sent
        assert self.number("SELECT count(*) FROM inbox") == self.sent
        assert self.number("SELECT count(*) FROM inbox WHERE outcome <> 'handled'") == 0
        assert self.number("SELECT count(*) FROM order_lines") == lines
        assert self.number("SELECT sum(allocated) FROM batches") == self.number("SELECT sum(qty) FROM order_lines")
        assert not self.rows("SELECT FROM batches WHERE allocated > purchased")
        self.assert_events_in_order()

    def assert_events_in_order(self) -> None:
        """Fail unless the outbox holds, sku by sku, the events from the first to the last."""
        disorder = self.rows("""
            WITH event AS (
                SELECT id, sku, (SELECT pair->>1 FROM jsonb_array_elements(headers::jsonb) AS pair
                    WHERE pair->>0 = 'ce_sequence')::bigint AS sequence
                FROM outbox WHERE topic ~ 'line_|out_of_stock'
            ), placed AS (SELECT *, row_number() OVER (PARTITION BY sku ORDER BY id) AS place FROM event)
            SELECT sku, sequence, place FROM placed WHERE sequence <> place LIMIT 5
        """)
        assert not disorder
        behind = self.rows("""
            SELECT sku, event_sequence FROM products AS p WHERE event_sequence <> (
                SELECT count(*) FROM outbox AS o WHERE o.sku = p.sku AND topic ~ 'line_|out_of_stock'
            )
        """)
        assert not behind

    def close(self) -> None:
        """Give the connections back."""
        self._database.dispose()


@contextlib.contextmanager
def flood(settings: config.Settings) -> Iterator[Flood]:
    """Lend a sender to an initialised installation."""
    with contextlib.closing(Flood(settings)) as lent:
        yield lent


def peak_memory_mb(pid: int) -> float:
    """Return the most memory that a process has had resident, as the kernel counts it (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def tell(measured: str) -> None:
    """Say what was measured, to those who ask for it with `pytest -rP`."""
    sys.stdout.write(f"measured: {measured}\n")
