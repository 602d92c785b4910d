"""What an installation has gone through before it is measured, written as rows: the same, only sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import installation

if TYPE_CHECKING:
    from allocation import config

# No case uses up what a batch has, unless it says so.
_LARGE = 1_000_000_000
_SKU = "'sku-' || lpad(s::text, 4, '0')"

# Two large batches for each sku, as `CreateBatch` leaves them.
_BATCHES = f"""
INSERT INTO batches (reference, sku, created_quantity, purchased, allocated, eta, line_count)
SELECT 'batch-' || s || '-' || b, {_SKU}, {_LARGE}, {_LARGE}, 0, NULL, 0
FROM generate_series(0, %(skus)s - 1) AS s, generate_series(1, 2) AS b;
INSERT INTO products (sku, version_number, event_sequence)
SELECT {_SKU}, 2, 0 FROM generate_series(0, %(skus)s - 1) AS s;
INSERT INTO locks (name)
SELECT 'sku:' || {_SKU} FROM generate_series(0, %(skus)s - 1) AS s
UNION ALL SELECT 'ref:' || reference FROM batches;
ANALYZE batches, products, locks
"""

# Lines of one piece in each sku's first batch, and what the inbox keeps of their commands.
_LINES = f"""
INSERT INTO order_lines (orderid, sku, qty, batchref, place)
SELECT 'old-' || s || '-' || n, {_SKU}, 1, 'batch-' || s || '-1', n
FROM generate_series(0, %(skus)s - 1) AS s, generate_series(0, %(lines)s - 1) AS n;
UPDATE batches SET allocated = %(lines)s, line_count = %(lines)s WHERE reference LIKE 'batch-%%-1';
UPDATE products SET version_number = 2 + %(lines)s, event_sequence = %(lines)s;
INSERT INTO inbox (id, source, attempt, digest, outcome, result, topic, partition, "offset")
SELECT gen_random_uuid()::text, 'bench', 1, decode(md5(n::text), 'hex'), 'handled', 'batch-1-1', 'allocate', 0, n
FROM generate_series(1, %(skus)s * %(lines)s) AS n;
VACUUM ANALYZE order_lines, batches, products, inbox;
CHECKPOINT
"""

# Batches of one piece, all used up but the last ones; they come before the two large ones.
_OLD_BATCHES = f"""
INSERT INTO batches (reference, sku, created_quantity, purchased, allocated, eta, line_count)
SELECT 'a-' || s || '-' || b, {_SKU}, 1, 1, CASE WHEN b <= %(used)s THEN 1 ELSE 0 END, NULL,
    CASE WHEN b <= %(used)s THEN 1 ELSE 0 END
FROM generate_series(0, %(skus)s - 1) AS s, generate_series(1, %(batches)s) AS b;
INSERT INTO order_lines (orderid, sku, qty, batchref, place)
SELECT 'old-' || reference, sku, 1, reference, 0 FROM batches WHERE allocated = 1;
UPDATE products SET version_number = 2 + %(batches)s + %(used)s, event_sequence = %(used)s;
VACUUM ANALYZE order_lines, batches, products;
CHECKPOINT
"""
_MOSTLY = 0.95  # of the old batches are used up

_SCHEMA_OF_THE_BOOK = f"""
INSERT INTO book.products (sku, version_number) SELECT {_SKU}, 0 FROM generate_series(0, %(skus)s - 1) AS s;
INSERT INTO book.batches (reference, sku, _purchased_quantity, eta)
SELECT 'batch-' || s || '-' || b, {_SKU}, {_LARGE}, NULL
FROM generate_series(0, %(skus)s - 1) AS s, generate_series(1, 2) AS b;
ANALYZE book.batches, book.products
"""

_OUTBOX = """
INSERT INTO outbox (shard, topic, key, value, headers, sku)
SELECT 0, '%(prefix)sline_allocated', convert_to('sku-' || n %% 1000, 'UTF8'), convert_to(rpad(n::text, 60), 'UTF8'),
    '[["ce_id", "' || gen_random_uuid() || '"], ["ce_source", "allocation"], ["ce_type", "allocation.LineAllocated"], '
    || '["ce_time", "2026-01-01T00:00:00.000Z"], ["ce_specversion", "1.0"], ["content-type", "application/avro"], '
    || '["ce_sequence", "' || n || '"], ["ce_causationid", "' || gen_random_uuid() || '"], '
    || '["traceparent", "00-' || md5(n::text) || '-' || substr(md5(n::text), 1, 16) || '-01"]]',
    'sku-' || n %% 1000
FROM generate_series(1, %(rows)s) AS n;
VACUUM ANALYZE outbox;
CHECKPOINT
"""


def batches(settings: config.Settings, *, skus: int) -> None:
    """Give each sku two large batches."""
    _run(settings, _BATCHES % {"skus": skus})


def lines(settings: config.Settings, *, skus: int, lines_per_sku: int) -> None:
    """Give each sku's first batch lines that are allocated already."""
    _run(settings, _LINES % {"skus": skus, "lines": lines_per_sku})


def old_batches(settings: config.Settings, *, skus: int, batches_per_sku: int) -> None:
    """Give each sku batches that come first and have, most of them, nothing left."""
    used = int(batches_per_sku * _MOSTLY)
    _run(settings, _OLD_BATCHES % {"skus": skus, "batches": batches_per_sku, "used": used})


def book(settings: config.Settings, *, skus: int) -> None:
    """Give each sku two large batches in the tables of the book."""
    _run(settings, _SCHEMA_OF_THE_BOOK % {"skus": skus})


def outbox(settings: config.Settings, *, rows: int) -> None:
    """Fill the outbox."""
    _run(settings, _OUTBOX % {"rows": rows, "prefix": settings.topic_prefix})


def _run(settings: config.Settings, script: str) -> None:
    installation.run(settings.database_url, *script.split(";\n"))
