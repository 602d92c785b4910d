"""For how long a number has not moved although it should have."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable


class Watched(NamedTuple):
    """A number that should move while something `waits`."""

    key: Hashable
    value: int
    waits: bool


class _Seen(NamedTuple):
    value: int
    since_s: float


class Stillness:
    """Remembers since when each number is what it is."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, _Seen] = {}

    def look(self, watched: Iterable[Watched], *, at_s: float) -> dict[Hashable, float]:
        """Return for how many seconds each has not moved; what does not wait, or is not named, starts anew."""
        before, self._seen = self._seen, {}
        for one in watched:
            if not one.waits:
                continue
            known = before.get(one.key)
            self._seen[one.key] = known if known is not None and known.value == one.value else _Seen(one.value, at_s)
        return {key: at_s - seen.since_s for key, seen in self._seen.items()}
