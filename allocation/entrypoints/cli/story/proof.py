"""The proof: commands, database and topics are compared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from allocation.entrypoints.cli import verifying
from allocation.entrypoints.cli.story import telling

if TYPE_CHECKING:
    from allocation.entrypoints.cli.story import system as systems


def tell_it(tell: telling.Teller, system: systems.System) -> None:
    """Tell it; raises `StoryFailed` when they do not agree."""
    tell.chapter("allocation verify: do commands, database and topics agree?")
    began = time.monotonic()
    report = verifying.compare(system.settings, keep=verifying.MAX_FINDINGS)
    verifying.show(report, tell.console, took_s=time.monotonic() - began)
    if report.total:
        raise telling.StoryFailed("Commands, database and topics do not agree.")
