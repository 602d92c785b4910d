"""A connection of one's own, outside the pool: each statement a transaction, settings that stay, bytes as bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg2.extensions

from allocation.adapters.postgres import engine as postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy


_BYTEA_OID = 17  # pg_type.dat


def connect(engine: sqlalchemy.Engine) -> Any:
    """Return the driver's connection, in autocommit mode; raises `DependencyDown`."""
    with postgres.translated_errors():
        pooled = engine.raw_connection()
        own: Any = pooled.dbapi_connection
        pooled.detach()
        own.autocommit = True
        psycopg2.extensions.register_type(_BYTES, own)
        return own


@contextlib.contextmanager
def connection(engine: sqlalchemy.Engine) -> Iterator[Any]:
    """Lend the driver's connection, in autocommit mode; raises `DependencyDown`."""
    with contextlib.closing(connect(engine)) as own:
        yield own


def _bytes(text: str | None, _cursor: object) -> bytes | None:
    r"""Read `bytea` in its hexadecimal output format, `\x` before the digits (the driver makes a memoryview of it)."""
    return None if text is None else bytes.fromhex(text[2:])


_BYTES = psycopg2.extensions.new_type((_BYTEA_OID,), "BYTES", _bytes)
