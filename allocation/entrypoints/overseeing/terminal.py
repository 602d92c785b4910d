"""Run `allocation top`: a picture each second until Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import console, live

from allocation import bootstrap
from allocation.entrypoints import stopping
from allocation.entrypoints.overseeing import parts, picture, watching

if TYPE_CHECKING:
    import threading

    from allocation import config
    from allocation.service_layer.operations.overview import flow

# The first rates need two looks with answers, and services that are down are known as such by then.
_ROUNDS_FOR_ONE = 5


def run(settings: config.Settings, *, once: bool) -> None:
    """Show the installation; without a terminal, or `once`, print one picture and return."""
    stop = stopping.on_signal()
    out = console.Console(highlight=False)
    with bootstrap.oversight(settings) as oversight:
        watch = watching.Watch(oversight, parts=parts.asked(settings.console_parts))
        if once or not out.is_terminal:
            out.print(picture.draw(_one(watch, stop)))
            return
        with live.Live(picture.draw(watch.look()), console=out, screen=True, auto_refresh=False) as shown:
            while not stop.wait(watching.INTERVAL_S):
                shown.update(picture.draw(watch.look()), refresh=True)


def _one(watch: watching.Watch, stop: threading.Event) -> flow.Overview:
    """Return the first overview that has rates, or the last one if they cannot be had."""
    overview = watch.look()
    for _ in range(_ROUNDS_FOR_ONE):
        if overview.rates["handled"] is not None and overview.rates["sent"] is not None:
            break
        if stop.wait(watching.INTERVAL_S):
            break
        overview = watch.look()
    return overview
