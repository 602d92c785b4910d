"""Programs of the old kind, which know only Redis, and what became of what they said."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import redis

from tests import waiting
from tests.chaos.oracle import avro

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos import processes
    from tests.chaos import system as systems

Allocation = tuple[str, str, int, str]

DEADLINE_S = 60.0
_SLICE_S = 0.1
_SLICES = int(DEADLINE_S / _SLICE_S)


class Programs:
    """They publish commands on Redis and listen to allocations."""

    def __init__(self, system: systems.System) -> None:
        self._system = system
        self._prefix = system.settings.topic_prefix
        self.published: list[str] = []
        self.allocations: set[Allocation] = set()
        self.connect()

    def connect(self) -> None:
        """Connect, and listen from now on."""
        client: Any = redis.Redis.from_url(self._system.settings.redis_url)
        self._client = client
        self._heard = client.pubsub(ignore_subscribe_messages=True)
        self._heard.subscribe(f"{self._prefix}line_allocated")
        self._heard.get_message(timeout=10)

    def close(self) -> None:
        """Give the connections back."""
        self._heard.close()
        self._client.close()

    def publish(self, count: int) -> Sequence[str]:
        """Ask for so many lines; return their orders."""
        orders = [f"old-{len(self.published) + number}" for number in range(count)]
        for number, orderid in enumerate(orders, len(self.published)):
            line = {"orderid": orderid, "sku": f"allocate-{number % 4}", "qty": 1 + number % 3}
            self._client.publish(f"{self._prefix}allocate", json.dumps(line))
        self.published += orders
        return orders

    def listen(self) -> set[Allocation]:
        """Return what was heard until now."""
        while (message := self._heard.get_message(timeout=0.01)) is not None:
            said = json.loads(message["data"])
            self.allocations.add((said["orderid"], said["sku"], said["qty"], said["batchref"]))
        return self.allocations

    def await_bridge(self) -> None:
        """Wait until a bridge listens."""
        channel = f"{self._prefix}allocate"
        waiting.wait_until(lambda: bool(self._client.pubsub_numsub(channel)[0][1]), deadline_s=DEADLINE_S)

    def publish_until(self, part: processes.Part) -> None:
        """Keep up the load until a bridge has died or halted at its kill point."""
        for _ in range(_SLICES):
            if not part.is_running or part.lines("kill_point.reached"):
                return
            self.publish(5)
            self.listen()
            with contextlib.suppress(AssertionError):
                waiting.wait_until(lambda: not part.is_running, deadline_s=_SLICE_S)

    def assert_forwarded(self, orders: Sequence[str]) -> None:
        """Wait until all of these orders are commands."""
        waiting.wait_until(lambda: set(orders) <= set(self.forwarded()), deadline_s=DEADLINE_S)

    def assert_none_twice(self) -> None:
        """Fail if an order was forwarded twice, or one that nobody has published."""
        times = Counter(self.forwarded())
        assert set(times.values()) == {1}, f"forwarded twice: {[one for one in times if times[one] > 1][:10]}"
        assert times.keys() <= set(self.published)

    def assert_heard(self, orders: Sequence[str] | None = None) -> None:
        """Wait until the allocations of these orders, by default all that there are, have been heard."""
        announced = {one for one in self._announced() if orders is None or one[0] in orders}
        waiting.wait_until(lambda: self.listen() >= announced, deadline_s=DEADLINE_S)

    def forwarded(self) -> list[str]:
        """Return the orders of all commands that came from Redis, as often as they came."""
        schema_id = self._system.schema_ids["allocate"]
        fields = [
            avro.read(record.topic, record.value, schema_id)
            for record in self._system.log.read(["allocate"])
            if record.header("ce_source") == b"allocation/redis"
        ]
        return [str(one["orderid"]) for one in fields if one]

    def _announced(self) -> Iterator[Allocation]:
        for event in self._system.log.read(["line_allocated"]):
            fields = avro.read(event.topic, event.value, self._system.schema_ids["line_allocated"])
            assert fields is not None
            yield (fields["orderid"], fields["sku"], fields["qty"], fields["batchref"])


@contextlib.contextmanager
def listening(system: systems.System) -> Iterator[Programs]:
    """Lend programs that listen already."""
    with contextlib.closing(Programs(system)) as programs:
        yield programs
