"""Run the API until told to stop; calls in hand are answered first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import listening, serving, stopping
from allocation.entrypoints.http_api import application, parts
from allocation.entrypoints.observing import readiness
from allocation.service_layer import signals

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from opentelemetry.trace import TracerProvider

    from allocation import config

# What a call needs beyond its wait, so that none is cut off by the stop.
_STOP_MARGIN_S = 2
# Below what a whole look at all may take, since Kafka's own words say more than that it took too long.
_KAFKA_PATIENCE_S = readiness.PATIENCE_S - 0.2

_log = structlog.get_logger()


def run(settings: config.Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; raises `CannotListen`, `DependencyDown` when it cannot start."""
    serve(settings, stopping.on_signal())


def serve(settings: config.Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set."""
    remedy = "set ALLOCATION_HTTP_HOST and ALLOCATION_HTTP_PORT to an address that is free (port 0 finds one)"
    sock = listening.open_socket(settings.http_host, settings.http_port, who="the API", remedy=remedy)
    with sock, _traces() as traces, composed(settings) as api:
        wait_s = settings.http_timeout_s + _STOP_MARGIN_S
        serving.Server(application.create(api, traces=traces), stop, who="api", patience_s=wait_s).run([sock])
    _log.info("api.stopped")


def _traces() -> contextlib.AbstractContextManager[TracerProvider | None]:
    return bootstrap.tracer_provider(part="api") if bootstrap.traces_are_wanted() else contextlib.nullcontext()


@contextlib.contextmanager
def composed(settings: config.Settings) -> Iterator[parts.Parts]:
    """Open all that the API is made of; raises `DependencyDown` when the database does not answer."""
    with bootstrap.api(settings) as opened:
        ready = readiness.Readiness(
            standing=signals.Standing(),
            database=opened.figures,
            partitions=lambda: opened.log.check(timeout_s=_KAFKA_PATIENCE_S),
            others={"schema registry": opened.check_registry},
            expected=opened.expected,
            outbox_age_limit_s=settings.outbox_age_limit_s,
        )
        yield parts.Parts(
            log=opened.log,
            envelopes=opened.envelopes,
            reads=parts.DatabaseReads(opened.connect),
            hints=opened.hints,
            look=ready.look,
            timeout_s=settings.http_timeout_s,
        )
