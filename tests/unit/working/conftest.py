from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from allocation.service_layer import working
from tests.unit.working import scenes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> scenes.Scene:
    monkeypatch.setattr(working, "HOUSEKEEPING_INTERVAL_S", -1)  # at every turn
    return scenes.Scene()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[structlog.types.EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines
