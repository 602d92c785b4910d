"""Orders that come in while a recipe is followed: afterwards each must be allocated."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import allocation
from allocation import bootstrap
from allocation.service_layer.operations import producing
from tests import meanwhile, waiting
from tests.runbook import host as hosts

if TYPE_CHECKING:
    import threading
    from contextlib import AbstractContextManager

    import sqlalchemy

_PAUSE_S = 0.02  # between two orders: a worker is in a transaction about a fifth of the time
_SAYS = {"1.0": allocation.__version__}  # what lies here is installed as it is


class Orders:
    """Orders of one line each for stock that does not end, and whether they have been allocated."""

    def __init__(self, host: hosts.Host, tables: sqlalchemy.Engine) -> None:
        self._host = host
        self._tables = tables
        self._numbers = itertools.count()
        self._sent: list[str] = []

    def stock(self) -> None:
        with bootstrap.command_sender(self._host.settings) as sender:
            sender.send(producing.GivenCommand("CreateBatch", {"ref": "b", "sku": "LAMP", "qty": 10**6, "eta": None}))

    def send(self, count: int = 1) -> None:
        with bootstrap.command_sender(self._host.settings) as sender:
            for _ in range(count):
                self._send(sender)

    def coming_in(self) -> AbstractContextManager[None]:
        """Send orders for as long as the block takes."""
        return meanwhile.doing(self._send_until)

    def await_all(self) -> None:
        """Wait until every order that was sent is allocated, and nothing is left to be sent."""
        waiting.wait_until(self._are_allocated, deadline_s=hosts.DEADLINE_S)

    def await_one_of(self, version: str, *, on_tables_of: str) -> None:
        """Wait until a version has handled a command that came when the tables were those of another one."""
        query = f"""
            SELECT FROM journal WHERE version = '{_SAYS.get(version, version)}'
            AND handled_at > (SELECT at FROM reservations WHERE sku = '{on_tables_of}')
        """
        waiting.wait_until(lambda: rows(self._tables, query) != [], deadline_s=hosts.DEADLINE_S)

    def _send_until(self, done: threading.Event) -> None:
        with bootstrap.command_sender(self._host.settings) as sender:
            while not done.wait(_PAUSE_S):
                self._send(sender)

    def _send(self, sender: producing.Sender) -> None:
        orderid = f"order-{next(self._numbers)}"
        sender.send(producing.GivenCommand("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1}))
        self._sent.append(orderid)

    def _are_allocated(self) -> bool:
        query = """
            SELECT (SELECT count(*) FROM order_lines WHERE sku = 'LAMP' AND starts_with(orderid, 'order-')), count(*)
            FROM outbox
        """
        return rows(self._tables, query) == [(len(self._sent), 0)]


def rows(engine: sqlalchemy.Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]
