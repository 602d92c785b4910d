"""A real installation that has handled real commands, in this process: a worker and a relay in threads."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent import futures
from typing import TYPE_CHECKING

import sqlalchemy

from allocation import bootstrap
from allocation.entrypoints import relay
from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from allocation import config
    from allocation.service_layer.operations import producing

DEADLINE_S = 60.0

Given = tuple[str, "Mapping[str, object]", str]  # the name of a record, its fields, its id

STOCK: list[Given] = [
    ("CreateBatch", {"ref": "early", "sku": "CHAIR", "qty": 10, "eta": None}, "stock-1"),
    ("CreateBatch", {"ref": "late", "sku": "CHAIR", "qty": 4, "eta": None}, "stock-2"),
]
ORDERS: list[Given] = [
    ("Allocate", {"orderid": "o1", "sku": "CHAIR", "qty": 3}, "order-1"),
    ("Allocate", {"orderid": "o2", "sku": "CHAIR", "qty": 3}, "order-2"),
    ("Allocate", {"orderid": "o3", "sku": "CHAIR", "qty": 9}, "order-3"),  # out of stock
    ("Allocate", {"orderid": "o4", "sku": "CHAIR", "qty": -9}, "order-4"),  # refused
    ("Allocate", {"orderid": "o1", "sku": "CHAIR", "qty": 3}, "order-1"),  # a duplicate
    ("Allocate", {"orderid": "o5", "sku": "CHAIR", "qty": 1}, "order-1"),  # another's id
    ("Allocate", {"orderid": "o6", "sku": "LAMP", "qty": 1}, "order-6"),  # waits
]


@contextlib.contextmanager
def running(settings: config.Settings, *, is_relaying: bool = True) -> Iterator[None]:
    """Run a worker and a relay until the block ends."""
    stop = threading.Event()
    with futures.ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(_work, settings, stop)]
        if is_relaying:
            parts.append(pool.submit(relay.serve, settings, stop))
        try:
            yield
        finally:
            stop.set()
        for part in parts:
            part.result(DEADLINE_S)


def send(settings: config.Settings, given: Iterable[Given]) -> None:
    """Put commands on their topics."""
    lines = (json.dumps({"type": name, "id": id_, **fields}).encode() for name, fields, id_ in given)
    with bootstrap.command_sender(settings) as sender:
        sender.send_lines(lines, on_unsendable=_fail)


def wait_until_settled(settings: config.Settings, *, seen: int, parked: int = 0, is_relayed: bool = True) -> None:
    """Wait until that many commands were seen, all but `parked` are settled, and what came of it is sent."""
    counts = sqlalchemy.text(
        "SELECT (SELECT sum(next_offset) FROM positions), (SELECT count(*) FROM parked), (SELECT count(*) FROM outbox)"
    )
    expected = (seen, parked, 0) if is_relayed else (seen, parked)
    with bootstrap.database(settings) as engine:

        def is_settled() -> bool:
            with engine.connect() as connection:
                return tuple(connection.execute(counts).one())[: len(expected)] == expected

        waiting.wait_until(is_settled, deadline_s=DEADLINE_S)


@contextlib.contextmanager
def copied(settings: config.Settings, *statements: str) -> Iterator[config.Settings]:
    """Copy the database, change the copy by SQL, and return settings with the same topics and that database."""
    source = sqlalchemy.make_url(settings.database_url)
    copy = f"{source.database}_copy"
    admin = sqlalchemy.create_engine(source.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {copy} TEMPLATE {source.database}"))
    changed = settings.model_copy(
        update={"database_url": source.set(database=copy).render_as_string(hide_password=False)}
    )
    with bootstrap.database(changed) as engine, engine.begin() as connection:
        for statement in statements:
            assert connection.execute(sqlalchemy.text(statement)).rowcount > 0, statement
    yield changed
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"DROP DATABASE {copy} WITH (FORCE)"))
    admin.dispose()


def _fail(number: int, error: producing.Unsendable) -> bool:
    msg = f"command {number}: {error}"
    raise AssertionError(msg)


def _work(settings: config.Settings, stop: threading.Event) -> None:
    with bootstrap.worker(settings, stopping=stop) as worker:
        worker.run(stop)
