"""`NOTIFY` after each micro-batch: a hint for the relay and the API, never a message of its own.

A hint may be missed (a connection breaks, a pooler swallows it), so whoever waits for one also looks
again by itself from time to time. Source: PostgreSQL manual, NOTIFY.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Self

from allocation.adapters.postgres import dedicated
from allocation.adapters.postgres import engine as postgres

if TYPE_CHECKING:
    from types import TracebackType

    import sqlalchemy

CHANNEL = "allocation"
NOTIFY = f"NOTIFY {CHANNEL}"
_LISTEN = f"LISTEN {CHANNEL}"


class Listener:
    """Waits for hints on a connection of its own (which must not go through PgBouncer); belongs to one thread."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine
        self._connection: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def wait(self, timeout_s: float) -> bool:
        """Block until there is a hint or the time is over; tell whether there was one.

        A new connection counts as a hint, since others may have been missed before; the first call
        makes one. Raises `DependencyDown` when the connection is lost or cannot be made; the next
        call makes a new one.
        """
        try:
            with postgres.translated_errors():
                return self._wait(timeout_s)
        except BaseException:
            self._close()
            raise

    def _wait(self, timeout_s: float) -> bool:
        if self._connection is None:
            self._connection = dedicated.connect(self._engine)
            self._connection.cursor().execute(_LISTEN)
            return True
        if not self._connection.notifies:
            select.select([self._connection], (), (), timeout_s)
            self._connection.poll()
        heard = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return heard

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
