from __future__ import annotations

import asyncio
import threading
from typing import Any

from allocation.entrypoints.console import audience


class Shown:
    """An audience, and how often somebody looked for it."""

    def __init__(self) -> None:
        self.looks = 0
        self.stop = threading.Event()
        self.audience = audience.Audience(lambda: None, self._look, settle_s=0.001, interval_s=0.005, stop=self.stop)

    async def watch(self, frames: int) -> list[str]:
        """Watch until so many frames came."""
        seen: list[str] = []
        async with asyncio.timeout(10):
            watching = self.audience.frames()
            async for frame in watching:
                seen.append(frame)
                if len(seen) > frames:
                    await watching.aclose()  # type: ignore[attr-defined] # it is a generator
                    break
        return seen

    def _look(self) -> dict[str, Any]:
        self.looks += 1
        return {"look": self.looks}


def test_many_viewers_cost_one_look_a_round() -> None:
    async def watch() -> Shown:
        shown = Shown()
        await asyncio.gather(*(shown.watch(20) for _ in range(50)))
        return shown

    assert asyncio.run(watch()).looks <= 25


def test_nobody_looks_while_nobody_watches() -> None:
    async def watch() -> tuple[int, int]:
        shown = Shown()
        await shown.watch(2)
        (looking,) = asyncio.all_tasks() - {asyncio.current_task()}
        async with asyncio.timeout(10):
            await looking  # ends by itself
        before = shown.looks
        await shown.watch(2)
        return before, shown.looks

    before, after = asyncio.run(watch())
    assert before < after


def test_who_comes_later_sees_the_newest_at_once() -> None:
    async def watch() -> list[str]:
        shown = Shown()
        first = asyncio.create_task(shown.watch(100))
        await shown.watch(3)
        seen = await shown.watch(1)
        first.cancel()
        return seen

    assert "overview" in asyncio.run(watch())[1]


def test_everybody_is_let_go_at_the_stop() -> None:
    async def watch() -> list[list[str]]:
        shown = Shown()
        watching = [asyncio.create_task(shown.watch(10_000)) for _ in range(3)]
        await shown.watch(2)
        shown.stop.set()
        return await asyncio.gather(*watching)

    assert len(asyncio.run(watch())) == 3


def test_there_is_a_limit_to_viewers() -> None:
    async def watch() -> tuple[bool, bool]:
        shown = Shown()
        watching = [asyncio.create_task(shown.watch(10_000)) for _ in range(audience.MAX_VIEWERS)]
        await shown.watch(2)
        was_full = shown.audience.is_full
        shown.stop.set()
        await asyncio.gather(*watching)
        return was_full, shown.audience.is_full

    assert asyncio.run(watch()) == (True, False)
