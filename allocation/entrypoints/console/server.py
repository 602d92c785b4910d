"""Run the console until told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap, config
from allocation.entrypoints import listening, serving, stopping
from allocation.entrypoints.console import application, audience, guard, operations
from allocation.entrypoints.overseeing import parts, plain, watching

if TYPE_CHECKING:
    import threading

# Viewers are let go within a second; a change in hand may take its transaction.
_STOP_PATIENCE_S = 5

_log = structlog.get_logger()


def run(settings: config.Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; raises `CannotListen`, and `SettingsError` for a token that is too short."""
    serve(settings, stopping.on_signal())


def names(settings: config.Settings) -> frozenset[str]:
    """Return the names by which the console may be called; where it listens may be one, or an address."""
    given = f"{settings.console_host},{settings.console_allowed_hosts}".lower().split(",")
    return frozenset(filter(None, map(str.strip, given)))


def serve(settings: config.Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set; the services may be down."""
    token = settings.console_token or None
    if token is not None and len(token) < guard.MIN_TOKEN_LENGTH:
        msg = f"ALLOCATION_CONSOLE_TOKEN: has {len(token)} characters, and needs {guard.MIN_TOKEN_LENGTH} at least"
        raise config.SettingsError(msg)
    remedy = "set ALLOCATION_CONSOLE_HOST and ALLOCATION_CONSOLE_PORT to an address that is free (port 0 finds one)"
    sock = listening.open_socket(settings.console_host, settings.console_port, who="the console", remedy=remedy)
    with sock, bootstrap.oversight(settings) as oversight:
        watch = watching.Watch(oversight, parts=parts.asked(settings.console_parts))
        watched = audience.Audience(
            watch.ask,
            lambda: plain.plain(watch.look()),
            settle_s=watching.SETTLE_S,
            interval_s=watching.INTERVAL_S,
            stop=stop,
        )
        app = application.create(
            watched, operations.LiveOperations(settings, oversight), names=names(settings), token=token
        )
        serving.Server(app, stop, who="console", patience_s=_STOP_PATIENCE_S).run([sock])
    _log.info("console.stopped")
