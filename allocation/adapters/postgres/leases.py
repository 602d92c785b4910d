"""Who may work on what only one may work on: rows that expire by the database's clock.

A lease decides who should work. It never decides who can: its owner may be stopped for longer than it
lasts, and wake up. So whatever is guarded by one has a fence of its own (Kafka's, or a compare-and-set).

Each change is one statement that the server commits by itself: an owner that is stopped between two
would hold the row's lock, and nobody could take the lease over.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

import sqlalchemy

from allocation.adapters.postgres import engine as postgres

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERMISSION = "intermission"  # while somebody has it, workers stay out of their group: see `replay.ports.Intermission`

_ACQUIRE = sqlalchemy.text("""
INSERT INTO leases (name, owner, expires_at) VALUES (:name, :owner, clock_timestamp() + :duration * interval '1 s')
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
WHERE leases.owner = excluded.owner OR leases.expires_at <= clock_timestamp()
""")
_RENEW = sqlalchemy.text("""
UPDATE leases SET expires_at = clock_timestamp() + :duration * interval '1 s' WHERE name = :name AND owner = :owner
""")
_RELEASE = sqlalchemy.text("DELETE FROM leases WHERE name = :name AND owner = :owner")


class Lease:
    """The lease of this name, for one owner; threads may share it. Everything raises `Retryable`."""

    def __init__(self, engine: sqlalchemy.Engine, *, name: str, duration_s: float, owner: str | None = None) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._values = {"name": name, "owner": owner or new_owner()}
        self._duration_s = duration_s

    def acquire(self) -> bool:
        """Take the lease if it is free or has expired; tell whether it is ours."""
        return self._changes(_ACQUIRE, {**self._values, "duration": self._duration_s})

    def renew(self) -> bool:
        """Prolong the lease, even if it has expired; False if another has taken it since."""
        return self._changes(_RENEW, {**self._values, "duration": self._duration_s})

    def release(self) -> None:
        """Give the lease back if it is ours."""
        self._changes(_RELEASE, self._values)

    def _changes(self, statement: sqlalchemy.TextClause, values: Mapping[str, object]) -> bool:
        with postgres.translated_errors(), self._engine.connect() as connection:
            return connection.execute(statement, values).rowcount == 1


def new_owner() -> str:
    """Name this process in a way that people can find it by, and that no other has."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
