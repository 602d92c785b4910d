"""Who hears a part: health and metrics on a port of its own, traces; each of the two, both, or nobody.

The API has its health on the port that it serves.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import listening
from allocation.service_layer import signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config

log = structlog.get_logger()

_HAVE_MESSAGES = frozenset({"worker", "relay", "bridge"})  # traces are of messages


@contextlib.contextmanager
def observed(settings: config.Settings, *, part: str) -> Iterator[signals.Signals]:
    """Open what was asked for until the block ends; yields what is to hear the part.

    What was not asked for is not loaded either. Raises `CannotListen`, `SettingsError`.
    """
    with contextlib.ExitStack() as opened:
        listeners: list[signals.Signals] = []
        if settings.health_port:
            listeners.append(opened.enter_context(_served(settings, part=part)))
        if part in _HAVE_MESSAGES and bootstrap.traces_are_wanted():
            listeners.append(opened.enter_context(bootstrap.spans(settings, part=part)))
        yield signals.Several(*listeners) if listeners else signals.SILENT


@contextlib.contextmanager
def _served(settings: config.Settings, *, part: str) -> Iterator[signals.Signals]:
    """Serve health and metrics."""
    from allocation.entrypoints.observing import figures, readiness, server  # noqa: PLC0415 - see above

    remedy = "set ALLOCATION_HEALTH_PORT to a free one, different for each part on a host, or to 0 to do without"
    sock = listening.open_socket(
        settings.http_host, settings.health_port, who=f"the health of the {part}", remedy=remedy
    )
    with sock, bootstrap.observation(settings, part=part) as found:
        ready = readiness.Readiness(
            standing=found.signals,
            database=found.database,
            partitions=found.partitions,
            others=found.others,
            expected=found.expected,
            outbox_age_limit_s=settings.outbox_age_limit_s,
        )
        found.expose(lambda: figures.found(ready.look()))
        found.signals.says("work", "it is starting")
        with server.serving(sock, server.application(ready.look, found.registry)):
            log.info("health.served", part=part, url=listening.url(sock))
            yield found.signals
