from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.http_api.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

IMPATIENT_S = 1.0  # time enough to send a command on a busy machine


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    with world.client:
        yield world
        world.hints.finish()


@pytest.fixture
def impatient_world() -> Iterator[World]:
    world = World(timeout_s=IMPATIENT_S)
    with world.client:
        yield world
        world.hints.finish()
