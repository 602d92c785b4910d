"""The options that say which dead letters are meant."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import times

if TYPE_CHECKING:
    from allocation import config
    from allocation.service_layer.operations import dead_letters

Reasons = Annotated[
    list[str] | None, typer.Option("--reason", metavar="WORD", help="Refused for this reason; may be repeated.")
]
Stacks = Annotated[
    list[str] | None,
    typer.Option("--stack", metavar="DIGEST", help="Of this bug: the digest of its stack, as `dlq show` tells it."),
]
Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="TOPIC", help="From this topic, with or without the prefix, or redis:CHANNEL."),
]
Keys = Annotated[
    list[str] | None, typer.Option("--key", "--sku", metavar="KEY", help="With this key, which is the sku as a rule.")
]
Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=times.moment, metavar="TIME", help=f"From this time on, {times.HELP}."),
]
Until = Annotated[
    datetime | None, typer.Option("--until", parser=times.moment, metavar="TIME", help="Before this time.")
]
_PLACE = typer.Argument(metavar="PARTITION:OFFSET", help="Where it lies on the dead-letter topic.", show_default=False)
Place = Annotated[str, _PLACE]
Places = Annotated[list[str] | None, _PLACE]


def wanted(
    settings: config.Settings,
    *,
    reason: list[str] | None = None,
    stack: list[str] | None = None,
    topic: list[str] | None = None,
    key: list[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    places: list[str] | None = None,
) -> dead_letters.Filter:
    """Return what the options mean; raises `BadParameter`."""
    from allocation.service_layer.operations import dead_letters  # noqa: PLC0415 - takes longer to load than `--help` should

    unknown = sorted(set(reason or ()) - dead_letters.REASONS)
    if unknown:
        known = ", ".join(sorted(dead_letters.REASONS))
        raise typer.BadParameter(f"{', '.join(unknown)}: no such reason; there are {known}", param_hint="--reason")
    return dead_letters.Filter(
        reasons=frozenset(reason or ()),
        stacks=frozenset(stack or ()),
        topics=frozenset(itertools.chain.from_iterable(_names(settings, one) for one in topic or ())),
        keys=frozenset(key or ()),
        places=frozenset(map(_place, places or ())),
        since=since,
        until=until,
    )


def _names(settings: config.Settings, topic: str) -> tuple[str, str]:
    kind, _, name = topic.rpartition(":")
    start = f"{kind}:" if kind else ""
    return topic, f"{start}{settings.topic_prefix}{name}"


def _place(text: str) -> dead_letters.Place:
    from allocation.service_layer.operations import dead_letters  # noqa: PLC0415 - see above

    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{text!r} is no place, such as 3:17", param_hint="PARTITION:OFFSET")
    return dead_letters.Place(int(partition), int(offset))
