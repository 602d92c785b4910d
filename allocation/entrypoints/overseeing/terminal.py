"""Run `allocation top`: a picture each second until Ctrl-C, or the same as JSON, a line for each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich import console, live

from allocation import bootstrap
from allocation.entrypoints import stopping
from allocation.entrypoints.overseeing import parts, picture, plain, watching

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from allocation import config
    from allocation.service_layer.operations.overview import flow

# The first rates need two looks with answers, and services that are down are known as such by then.
_ROUNDS_FOR_ONE = 5


def run(settings: config.Settings, *, once: bool, as_json: bool) -> None:
    """Show the installation until told to stop; `once`, or without a terminal unless as JSON, print one picture."""
    stop = stopping.on_signal()
    out = console.Console(highlight=False)
    with bootstrap.oversight(settings) as oversight:
        looks = _looks(watching.Watch(oversight, parts=parts.asked(settings.console_parts)), stop)
        if as_json:
            for overview in [_one(looks)] if once else looks:
                print(json.dumps(plain.plain(overview)), flush=True)  # noqa: T201 - what it is for
        elif once or not out.is_terminal:
            out.print(picture.draw(_one(looks), width=out.width))
        else:
            with live.Live(console=out, screen=True, auto_refresh=False) as shown:
                for overview in looks:
                    shown.update(picture.draw(overview, width=out.width), refresh=True)


def _looks(watch: watching.Watch, stop: threading.Event) -> Iterator[flow.Overview]:
    """Yield an overview a second until told to stop; at least one."""
    while True:
        watch.ask()
        stop.wait(watching.SETTLE_S)
        yield watch.look()
        if stop.wait(watching.INTERVAL_S - watching.SETTLE_S):
            return


def _one(looks: Iterator[flow.Overview]) -> flow.Overview:
    """Return the first overview that has rates, or the last one if they cannot be had."""
    overview = next(looks)
    for _ in range(_ROUNDS_FOR_ONE):
        if None not in overview.rates.values():
            break
        overview = next(looks, overview)
    return overview
