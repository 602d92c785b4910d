"""The options of `allocation replay` and `allocation position`: which partitions, and which place in them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import times

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from allocation import config
    from allocation.service_layer import topics as topic_names
    from allocation.service_layer.operations.replay import targets

Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="TOPIC", help="This topic, with or without the prefix; may be repeated."),
]
OneTopic = Annotated[str, typer.Argument(metavar="TOPIC", help="A topic of commands, with or without the prefix.")]
Partitions = Annotated[
    list[int] | None, typer.Option("--partition", min=0, metavar="N", help="This partition; may be repeated.")
]
ToOffset = Annotated[int | None, typer.Option("--to-offset", min=0, metavar="N", help="To this offset.")]
ToTimestamp = Annotated[
    datetime | None,
    typer.Option(
        "--to-timestamp",
        parser=times.moment,
        metavar="TIME",
        help=f"To the first record that is not older, {times.HELP}.",
    ),
]
ToEarliest = Annotated[bool, typer.Option("--to-earliest", help="To the first record that is there.")]
By = Annotated[int | None, typer.Option("--by", max=-1, metavar="-N", help="So many offsets back.")]


def target(
    *, to_offset: int | None, to_timestamp: datetime | None, to_earliest: bool = False, by: int | None = None
) -> targets.Target:
    """Return the one place that is given; raises `BadParameter`."""
    from allocation.service_layer.operations.replay import targets  # noqa: PLC0415 - see above

    given: list[targets.Target] = []
    if to_offset is not None:
        given.append(targets.ToOffset(to_offset))
    if to_timestamp is not None:
        given.append(targets.ToTime(to_timestamp))
    if to_earliest:
        given.append(targets.ToEarliest())
    if by is not None:
        given.append(targets.Back(-by))
    if len(given) != 1:
        raise typer.BadParameter("say where to, by one option that begins with --to, or by --by where there is one")
    return given[0]


def topics(settings: config.Settings, given: Sequence[str] | None, *, of: Collection[str]) -> tuple[str, ...]:
    """Return the full names of the topics that are meant, all of `of` if none is given; raises `BadParameter`."""
    return tuple(dict.fromkeys(topic(settings, one, of=of) for one in given)) if given else tuple(of)


def topic(settings: config.Settings, given: str, *, of: Collection[str]) -> str:
    """Return the full name of one of these topics; raises `BadParameter`."""
    for name in (given, f"{settings.topic_prefix}{given}", f"{settings.topic_prefix}allocation.{given}"):
        if name in of:
            return name
    known = ", ".join(name.removeprefix(settings.topic_prefix) for name in of)
    raise typer.BadParameter(f"{given!r} is not among {known}", param_hint="TOPIC")


def names(settings: config.Settings) -> topic_names.TopicNames:
    """Return the names of all topics."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    return bootstrap.topic_names(settings)


def count(number: int, what: str) -> str:
    """Return how many there are of something, for people."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
