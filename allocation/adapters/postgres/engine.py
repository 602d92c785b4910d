"""Connections to the database, and which of its errors may be retried."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.errors
import sqlalchemy
import sqlalchemy.exc

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

# A stopped process must not hold a lock for ever: the server ends its transaction. 30 s is ten times what the
# largest micro-batch takes. A lock is waited for as long as a micro-batch may take its holder, then again: in between
# it is seen whether the process is to stop.
_OPTIONS = {
    "transaction_timeout": "30s",
    "idle_in_transaction_session_timeout": "20s",
    "lock_timeout": "3s",
    "synchronous_commit": "on",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
}
_CONNECT_TIMEOUT_S = 5
_SILENCE_MS = (
    15_000  # a server that vanished without a word is given up after this; the kernel would take a quarter hour
)

# What connections are called; those of a worker have its name behind it.
APPLICATION = "allocation"
OF_WORKER = "worker "

_CONFLICTS = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.UniqueViolation,
    psycopg2.errors.FeatureNotSupported,  # a statement was prepared when a column had another type
)
_LOST = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    psycopg2.errors.IdleInTransactionSessionTimeout,
    psycopg2.errors.TransactionTimeout,
    psycopg2.errors.ReadOnlySqlTransaction,  # a standby that was not promoted, or is no longer the primary
)
_NO_SESSION = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.DuplicatePreparedStatement)
_NO_TABLES = (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn)


class NotInitialised(Exception):
    """The database has no tables, or those of another version or installation."""


def create(url: str, *, schema: str | None = None, keeps_connections: bool = True, who: str = "") -> sqlalchemy.Engine:
    """Return an engine, for the tables of another schema than the usual one if it is named; connects at first use.

    Without `keeps_connections` each connection is closed after its use. `who` is what its connections are called.
    """
    own = {} if schema is None else {"search_path": schema}
    options = " ".join(f"-c {name}={value}" for name, value in {**_OPTIONS, **own}.items())
    return sqlalchemy.create_engine(
        url,
        poolclass=None if keeps_connections else sqlalchemy.NullPool,
        connect_args={
            "options": options,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": f"{APPLICATION} {who}".rstrip(),
            "keepalives_idle": 10,
            "tcp_user_timeout": _SILENCE_MS,
        },
    )


def lasting(limit: str) -> str:
    """Return the statement that lets the transaction in which it stands go on for so long, whatever the usual limit.

    The clock of that limit runs already, and a longer one alone would not set it anew: it is stopped first.
    """
    return f"SET LOCAL transaction_timeout = 0; SET LOCAL transaction_timeout = '{limit}'"


@contextlib.contextmanager
def reading(engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """Lend a connection whose every statement sees what is committed by then, without a transaction around it."""
    with translated_errors(), engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection


@contextlib.contextmanager
def cursor(engine: sqlalchemy.Engine) -> Iterator[Any]:
    """Lend a cursor of the driver's, in a transaction that ends without a commit."""
    with translated_errors(), engine.connect() as connection:
        yield connection.connection.cursor()


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into the fates that the service layer knows; all others pass as they are."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        raise _fate(error.orig) from error
    except psycopg2.Error as error:
        raise _fate(error) from error


def _fate(error: BaseException | None) -> BaseException:
    text = str(error).strip()
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        return ports.LockedOut(f"another transaction holds what is needed: {text}")
    if isinstance(error, _CONFLICTS):
        return ports.Retryable(f"the database refused a concurrent change: {text}")
    if isinstance(error, _NO_SESSION):
        return ports.DependencyDown(
            f"the database does not know what this session has prepared ({text}): connect to it without a pooler, "
            "or through one that leaves a session to its client (PgBouncer: pool_mode = session)"
        )
    if isinstance(error, _LOST):
        return ports.DependencyDown(f"the database does not answer: {text}{_remedy(text)}")
    if isinstance(error, _NO_TABLES):
        fact = text.splitlines()[0]
        return NotInitialised(f"the database lacks tables of this service ({fact}); run `allocation init`")
    return error or RuntimeError("unknown database error")


def _remedy(text: str) -> str:
    """Return what to do when the server was never reached; a connection that was lost comes back by itself."""
    was_reached = not text.startswith(("connection to server", "could not translate host name"))
    return "" if was_reached else "; check that it runs there, or correct ALLOCATION_DATABASE_URL"
