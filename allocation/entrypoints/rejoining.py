"""Whether a worker that the group has shut out may try to get in again.

One that was a member may have lost that by an outage: a commit that the client sends again under its former
membership costs it the new one. So it joins again. But two workers under one instance id throw each other out
about once a second, for ever: the one that was thrown out most often gives up, and the other one goes on.
One that is not let in waits for the session of its predecessor to end (KIP-848), which takes as long as the
broker says. Sources: KIP-345, KIP-848.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable

EXPULSIONS = 5
WITHIN_S = 60.0  # outages that cost the membership do not come every ten seconds
REFUSED_S = 90.0  # twice the session that brokers grant by default


class Rejoining:
    """Counts for one worker; `clock` gives seconds."""

    def __init__(self, *, group: str, instance_id: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._group = group
        self._instance_id = instance_id
        self._clock = clock
        self._expelled_at: deque[float] = deque(maxlen=EXPULSIONS)
        self._refused_since: float | None = None

    def note(self, error: ports.MembershipLost) -> None:
        """Take in that the worker was shut out; raises `MembershipLost` when it must not try again."""
        now = self._clock()
        if error.was_member:
            self._refused_since = None
            self._expelled_at.append(now)
            if len(self._expelled_at) == EXPULSIONS and now - self._expelled_at[0] <= WITHIN_S:
                raise self._for_good(
                    f"thrown out {EXPULSIONS} times within {now - self._expelled_at[0]:.0f} s"
                ) from error
            return
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since > REFUSED_S:
            raise self._for_good(f"not let in for {now - self._refused_since:.0f} s") from error

    def _for_good(self, what: str) -> ports.MembershipLost:
        if self._instance_id is None:
            return ports.MembershipLost(f"this worker was {what} by group {self._group}; see the warnings before")
        return ports.MembershipLost(
            f"this worker was {what} by group {self._group}: another one uses its instance id {self._instance_id!r}; "
            "give each worker an ALLOCATION_CONSUMER_INSTANCE_ID of its own"
        )
