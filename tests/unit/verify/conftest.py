from __future__ import annotations

import pytest

from tests.unit.verify import world as builders
from tests.unit.verify.world import B


@pytest.fixture
def world() -> builders.World:
    """Two batches; two lines in the first, which then shrank so that one went to the second; one out of stock."""
    world = builders.World()
    world.created("early", "CHAIR", 10)
    world.created("late", "CHAIR", 4, builders.LATER)
    world.allocated("o1", "CHAIR", 3, "early")
    world.allocated("o2", "CHAIR", 3, "early")
    world.changed("early", 5, [(B, "late")])
    world.allocated("o3", "CHAIR", 3, None)
    return world
