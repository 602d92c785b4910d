"""The services for all tests: started when the first test asks for them, once per run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from allocation import devstack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests import stacks

STACKS = ("processes", "containers", "external")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=STACKS,
        default="processes",
        help=(
            "what integration tests run against: services started as plain processes (default), "
            "testcontainers, or external ones named by ALLOCATION_KAFKA_BOOTSTRAP_SERVERS, "
            "ALLOCATION_DATABASE_URL, ALLOCATION_REDIS_URL and ALLOCATION_SCHEMA_REGISTRY_URL"
        ),
    )


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.RunningStack]:
    """The running services. Tests share them: each uses names (topics, databases) of its own."""
    kind = importlib.import_module(f"tests.stacks.{pytestconfig.getoption('--stack')}")
    with kind.running(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def endpoints(stack: stacks.RunningStack) -> devstack.Endpoints:
    """The addresses of the services."""
    return stack.endpoints


@pytest.fixture
def breakable_stack(stack: stacks.RunningStack) -> Iterator[devstack.Stack]:
    """The services for a test that stops or kills some of them; they are up again afterwards."""
    if not isinstance(stack, devstack.Stack):
        pytest.skip("needs services that it may kill: --stack=processes")
    yield stack
    stack.start()
