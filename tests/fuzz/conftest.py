"""How much is tried: a seeded part with every run of the tests, more with `--long`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from allocation.adapters.postgres import schema
from tests import databases
from tests.fuzz import rig as rigs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

_SHORT, _LONG = 40, 1500  # micro-batches of dozens of messages each


def pytest_configure(config: pytest.Config) -> None:
    is_long = bool(config.getoption("--long"))
    hypothesis.settings.register_profile(
        "fuzz",
        deadline=None,
        print_blob=True,
        derandomize=not is_long,
        database=None,
        max_examples=_LONG if is_long else _SHORT,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@pytest.fixture(scope="session")
def is_long(pytestconfig: pytest.Config) -> bool:
    """Whether there is time for all that can be tried."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="module")
def rig(endpoints: devstack.Endpoints) -> Iterator[rigs.Rig]:
    """The real processing of messages on a real database."""
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        yield rigs.Rig(database)
