from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.console.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with world.client:
        yield world


@pytest.fixture
def readonly_world() -> Iterator[World]:
    world = World(token=None)
    with world.client:
        yield world
