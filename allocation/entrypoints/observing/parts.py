"""Worker, relay and bridge say how they are, on a port of their own; the API does so on the port that it has."""

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
    from allocation.adapters.prometheus import looking
    from allocation.entrypoints.observing import readiness

log = structlog.get_logger()


@contextlib.contextmanager
def observed(settings: config.Settings, *, part: str) -> Iterator[signals.Signals]:
    """Serve the health and the metrics of a part until the block ends; yields what is to hear the part.

    Without a port nobody listens, and nothing is loaded for it. Raises `CannotListen`.
    """
    if not settings.health_port:
        yield signals.SILENT
        return
    from allocation.entrypoints.observing import readiness, server  # noqa: PLC0415 - see above

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
        found.expose(lambda: _figures(ready.look()))
        found.signals.says("work", "it is starting")
        with server.serving(sock, server.application(ready.look, found.registry)):
            log.info("health.served", part=part, url=listening.url(sock))
            yield found.signals


def _figures(answer: readiness.Answer) -> looking.Found:
    from allocation.adapters.prometheus import looking  # noqa: PLC0415 - see above

    ready = {name: check.is_well for name, check in answer.checks.items()}
    return looking.Found(ready, answer.database, answer.partitions)
