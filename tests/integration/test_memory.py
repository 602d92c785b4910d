"""What a micro-batch held is given back with it, not whenever Python's collector of cycles comes by."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from allocation.adapters.postgres import schema, unit_of_work
from tests import builders, databases, installations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_unit_of_work_is_gone_with_its_messages_as_soon_as_it_is_over(endpoints: devstack.Endpoints) -> None:
    begun: list[weakref.ref[unit_of_work.PostgresUnitOfWork]] = []

    with databases.fresh(endpoints) as database:
        schema.migrate(database)

        def begin() -> unit_of_work.PostgresUnitOfWork:
            uow = unit_of_work.PostgresUnitOfWork(database, journal_topic=installations.NAMES.journal)
            begun.append(weakref.ref(uow))
            return uow

        installations.a_processor(begin).process([builders.a_record(b"rubbish")])
    assert [one() for one in begun] == [None]
