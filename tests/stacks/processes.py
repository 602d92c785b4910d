"""The services as child processes on ports and data of their own; nothing need be installed."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from allocation import devstack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def running(directory: Path) -> Iterator[devstack.Stack]:
    """Start a stack of our own, and remove its data, but not its logs, at the end."""
    with devstack.Stack(directory) as stack:
        yield stack
    for service in stack.services:
        shutil.rmtree(service.directory)
