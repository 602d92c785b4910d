"""What was wrong and is not any more: a part that is started again at once would be seen by nobody otherwise."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from allocation.service_layer.operations.overview import alarms

# What an operator who looks up from something else wants to know of.
_KEPT_FOR = timedelta(minutes=10)
_KEPT = 8


class Past(NamedTuple):
    """What was wrong under a name from one moment to another, in the last words about it."""

    what: str
    text: str
    began: datetime
    ended: datetime


class Lately:
    """Remembers what was wrong, name by name; belongs to one thread."""

    def __init__(self) -> None:
        self._now: dict[str, tuple[str, datetime]] = {}
        self._past: deque[Past] = deque(maxlen=_KEPT)

    def look(self, wrong: Iterable[alarms.Alarm], *, time: datetime) -> Sequence[Past]:
        """Take in what is wrong now, and return what has ended, the newest first."""
        before, self._now = self._now, {}
        for one in wrong:
            _, began = before.get(one.what, ("", time))
            self._now.setdefault(one.what, (one.text, began))
        for what, (text, began) in before.items():
            if what not in self._now:
                self._past.append(Past(what, text, began, time))
        return [one for one in reversed(self._past) if time - one.ended <= _KEPT_FOR]
