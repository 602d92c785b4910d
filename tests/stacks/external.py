"""Services that somebody else runs, at the addresses in the environment variables."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING

from allocation import devstack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class ExternalStack:
    """Addresses alone: what runs there is not ours to start or stop."""

    endpoints: devstack.Endpoints


@contextlib.contextmanager
def running(_directory: Path) -> Iterator[ExternalStack]:
    """Read the addresses; raises DevstackError naming the variables that are missing."""
    yield ExternalStack(devstack.Endpoints.from_environment(os.environ))
