"""Send commands and watch from the database's positions how far they are handled."""

from __future__ import annotations

import time
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation import bootstrap
from allocation.entrypoints.cli.story import telling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation import config
    from allocation.service_layer import ports
    from allocation.service_layer.operations import producing, status

_POLL_INTERVAL_S = 0.1
# Without any progress for so long, something is broken.
_STALL_S = 30.0


@dataclass(slots=True)
class _Sent:
    """Counted by the producer's thread."""

    count: int = 0

    def add(self, _at: ports.Coordinates) -> None:
        self.count += 1


def send(tell: telling.Teller, settings: config.Settings, commands: Sequence[bytes]) -> float:
    """Send commands, wait until all are handled and all that came of them is on its topic; return the seconds.

    Raises `StoryFailed` when it does not go on.
    """
    sent = _Sent()
    with (
        bootstrap.inspection(settings) as inspection,
        futures.ThreadPoolExecutor(1) as pool,
        tell.bars(sent=len(commands), handled=len(commands)) as bars,
    ):
        watch = _Watch(inspection)
        began = time.monotonic()
        sending = pool.submit(_send, settings, commands, sent)
        while not watch.is_settled(len(commands)):
            bars["sent"](sent.count)
            bars["handled"](watch.handled)
            if sending.done():
                sending.result()
            time.sleep(_POLL_INTERVAL_S)
        took_s = time.monotonic() - began
        for bar in bars.values():
            bar(len(commands))
    return took_s


class _Watch:
    """How many commands were handled since the watch began."""

    def __init__(self, inspection: status.Inspection) -> None:
        self._inspection = inspection
        self._before = self._total(inspection.database())
        self._last_progress = time.monotonic()
        self.handled = 0

    def is_settled(self, expected: int) -> bool:
        """Say whether so many were handled, none waits, and nothing is left in the outbox."""
        figures = self._inspection.database()
        handled = self._total(figures) - self._before
        if handled != self.handled:
            self.handled, self._last_progress = handled, time.monotonic()
        if handled >= expected and not figures.outbox.rows and not figures.parked:
            return True
        if time.monotonic() > self._last_progress + _STALL_S:
            raise telling.StoryFailed(
                f"{handled:,} of {expected:,} commands are handled, {figures.outbox.rows:,} messages not sent, "
                f"and nothing has moved for {_STALL_S:g} s"
            )
        return False

    def _total(self, figures: status.DatabaseFigures) -> int:
        return sum(figures.next_offsets.values())


def _send(settings: config.Settings, commands: Sequence[bytes], sent: _Sent) -> None:
    with bootstrap.command_sender(settings) as sender:
        sender.send_lines(commands, on_unsendable=_fail, on_delivery=sent.add)


def _fail(number: int, error: producing.Unsendable) -> bool:
    raise telling.StoryFailed(f"command {number} cannot be sent: {error}")
