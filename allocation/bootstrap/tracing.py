"""Compose what makes traces of a part's work, where the environment asks for them by OpenTelemetry's own variables."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import allocation
from allocation import config
from allocation.bootstrap import connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider, id_generator

    from allocation.service_layer import signals

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def traces_are_wanted() -> bool:
    """Tell whether the environment names where traces go; nothing is loaded for the answer.

    An address or an exporter has to be named: by the letter of the specification everybody would send to localhost.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    return exporter.lower() != "none" and bool(exporter or any(map(os.environ.get, _ENDPOINTS)))


@contextlib.contextmanager
def spans(settings: config.Settings, *, part: str) -> Iterator[signals.Signals]:
    """Open what hears the worker, the relay or the bridge and makes spans of it; raises `SettingsError`."""
    from allocation.adapters.opentelemetry import following  # noqa: PLC0415 - loaded where it is wanted only
    from allocation.adapters.opentelemetry import spans as making  # noqa: PLC0415 - likewise

    ids = making.GivenIds()
    with tracer_provider(part=part, ids=ids) as provider:
        made = making.Spans(provider, ids, scope=f"allocation.{part}")
        match part:
            case "worker":
                yield following.WorkerSpans(made, group=settings.consumer_group)
            case "relay":
                events = connections.topic_names(settings).events.values()
                yield following.RelaySpans(made, event_topics=frozenset(events))
            case _:
                yield following.BridgeSpans(made)


@contextlib.contextmanager
def tracer_provider(*, part: str, ids: id_generator.IdGenerator | None = None) -> Iterator[TracerProvider]:
    """Open what samples and exports the spans of a part; raises `SettingsError`."""
    from allocation.adapters.opentelemetry import provider  # noqa: PLC0415 - loaded where it is wanted only

    with contextlib.ExitStack() as stack:
        opened = provider.opened(service=f"allocation-{part}", version=allocation.__version__, ids=ids)
        try:
            found = stack.enter_context(opened)
        except provider.CannotTrace as error:
            raise config.SettingsError(str(error)) from error
        yield found
