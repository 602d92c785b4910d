"""How log lines look: JSON for machines, colours on a terminal; dotted event names, never a payload."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import stamina.instrumentation
import structlog

if TYPE_CHECKING:
    from allocation import config


def configure(settings: config.Settings) -> None:
    """Send log lines to standard error in the form that the settings ask for."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info if as_json else _as_it_is,
            structlog.processors.JSONRenderer() if as_json else _console(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        # Writes a line and its end at once: parts under `allocation run` share standard error.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    stamina.instrumentation.set_on_retry_hooks([_tell_of_retry])  # by itself it warns, and shows what was passed


def warn_of_unknown(name: str) -> None:
    """Say that a variable is no setting."""
    structlog.get_logger().warning("settings.unknown", variable=name, remedy="see docs/settings.md for those there are")


def _console() -> structlog.dev.ConsoleRenderer:
    """Return what renders for people; plain tracebacks, for the fancy ones show payloads, and take seconds each."""
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _as_it_is(_logger: object, _name: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    return line


def _tell_of_retry(details: stamina.instrumentation.RetryDetails) -> None:
    structlog.get_logger().debug(
        "retry.scheduled",
        callable=details.name,
        number=details.retry_num,
        wait_s=round(details.wait_for, 2),
        cause=type(details.caused_by).__name__,
    )
