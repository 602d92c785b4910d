"""`allocation tail`: what is on the topics, one JSON object a line."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import failures, printing, starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from allocation import config

EXAMPLES = """
Examples:

    allocation tail                              # all events, from now on
    allocation tail line_allocated --from-beginning --no-follow
    allocation tail dead_letter --from-beginning --max 1 --timeout 5
"""

_EVENTS = ("line_allocated", "line_deallocated", "out_of_stock")


def tail(
    topics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC",
            help="With or without the prefix: an event's or a command's, dead_letter, journal.",
            show_default="the three topics of events",
        ),
    ] = None,
    *,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning/--from-end", help="Begin with the oldest, or with what comes from now on.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or stop where the topics end now.")
    ] = True,
    max_count: Annotated[int | None, typer.Option("--max", min=1, metavar="N", help="Stop after so many.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, metavar="SECONDS", help="Stop after this time.")
    ] = None,
) -> None:
    """Print what is on the topics, decoded, one JSON object a line.

    Only what is committed is shown, each partition in its order. The exit code is 1 when --max is
    given and not reached.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    settings = starting.settings()
    names = _resolved(settings, topics or _EVENTS)
    try:
        with contextlib.ExitStack() as beginning:
            beginning.enter_context(printing.working("looking where the topics end; Ctrl-C ends"))
            reading = f"reading {', '.join(names)}; Ctrl-C ends"
            stop = _Stop(timeout_s=timeout, announcement=reading, begun=beginning.close)
            lines = bootstrap.tail(settings, names, from_beginning=from_beginning, follow=follow, stop=stop)
            with contextlib.closing(lines):
                count = _print(itertools.islice(lines, max_count))
    except BrokenPipeError:
        _discard_output()
        return
    if max_count is not None and count < max_count:
        failures.give_up(f"only {count} of {max_count} messages were there")


def _resolved(settings: config.Settings, given: Sequence[str]) -> tuple[str, ...]:
    from allocation import bootstrap  # noqa: PLC0415
    from allocation.service_layer.operations import tailing  # noqa: PLC0415

    known = tailing.known_topics(bootstrap.topic_names(settings))
    unknown = [name for name in given if name not in known]
    if unknown:
        msg = f"{', '.join(unknown)}: no such topic; there are {', '.join(sorted(set(known.values())))}"
        raise typer.BadParameter(msg, param_hint="TOPIC")
    return tuple(dict.fromkeys(known[name] for name in given))


def _print(lines: Iterable[Mapping[str, object]]) -> int:
    """Print and flush each line; return how many there were."""
    count = 0
    for line in lines:
        typer.echo(json.dumps(line, ensure_ascii=False, default=str))
        count += 1
    return count


class _Stop:
    """Asked between messages whether to stop; raises `BrokenPipeError` once nobody reads our output any more."""

    def __init__(self, *, timeout_s: float | None, announcement: str, begun: Callable[[], None]) -> None:
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._announcement = announcement
        self._begun = begun
        self._output = select.poll()
        with contextlib.suppress(io.UnsupportedOperation):  # an output that is no file
            self._output.register(sys.stdout.fileno(), 0)

    def __call__(self) -> bool:
        self._announce()
        # Without this, `tail | head` would go on until the next message.
        if self._output.poll(0):
            raise BrokenPipeError
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _announce(self) -> None:
        """Say at the first question, when the places to begin at are fixed, that nothing is missed from now on."""
        if self._announcement:
            self._begun()
            typer.echo(self._announcement, err=True)
            self._announcement = ""


def _discard_output() -> None:
    """Keep the interpreter from complaining at its end that it cannot flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
