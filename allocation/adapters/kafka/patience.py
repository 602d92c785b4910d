"""For work that must not be lost: what Kafka refuses today, somebody may allow tomorrow."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.kafka import errors
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def pausing() -> Iterator[None]:
    """Turn a missing topic or right into an outage, which is waited out and logged until it is mended."""
    try:
        yield
    except errors.KafkaRefused as error:
        raise ports.DependencyDown(str(error)) from error
