"""The channel that allocations go out on, as JSON with exactly the keys that its readers know."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from allocation.adapters.redis import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from allocation.service_layer import external_events
    from allocation.service_layer.bridging import ports


class Publisher:
    """Implements `bridging.ports.Sink` by `PUBLISH`."""

    def __init__(self, *, client: redis.Redis, channel: str) -> None:
        self._client = client
        self._channel = channel

    def deliver(self, announcements: Sequence[ports.Announcement]) -> int:
        """Publish all of them, in order, in one round trip. Raises `DependencyDown`; then some may be out."""
        with connections.translated_errors(), self._client.pipeline(transaction=False) as pipeline:
            for announcement in announcements:
                pipeline.publish(self._channel, _as_json(announcement.event))
            pipeline.execute()
        return len(announcements)


def _as_json(event: external_events.ExternalEvent) -> str:
    return json.dumps(dataclasses.asdict(event))
