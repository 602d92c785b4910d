"""`allocation status`: how an installation is doing, for people and, with --json, for programs."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

import typer

from allocation.entrypoints.cli import failures, printing, starting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich import table

    from allocation.entrypoints.overseeing import parts
    from allocation.service_layer.operations import status as operation

Figures = dict[str, Any]

_OK = "ok"  # what a check of `/readyz` says that has nothing to add
_WIDTH = len("schema registry") + 2


def status(
    *,
    as_json: printing.AsJson = False,
) -> None:
    """Show what waits where, who works on it, and which part is missing.

    The lag of a partition counts what the database has not handled; the marker of a transaction
    counts as one. Parts that ALLOCATION_CONSOLE_PARTS names are asked how they are. The exit code is 1
    when one is down, not ready, or does not fit the others.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.entrypoints.overseeing import parts  # noqa: PLC0415 - likewise

    settings = starting.settings()
    with bootstrap.inspection(settings) as inspection:
        found = inspection.look()
    asked = parts.look_at(settings.console_parts)
    if as_json:
        typer.echo(json.dumps(all_figures(found, asked), indent=2))
    else:
        show(found, asked)
    if found.problems or any(health.problem for health in asked.values()):
        raise typer.Exit(failures.FAILED)


def all_figures(found: operation.Status, asked: Mapping[str, parts.Health]) -> Figures:
    """Return the status as JSON has it, with how the parts are that were asked."""
    wrong = {name: health.problem for name, health in asked.items() if health.problem}
    return {
        **figures(found),
        "ok": not found.problems and not wrong,
        "problems": {**found.problems, **wrong},
        "parts": {name: dataclasses.asdict(health) for name, health in asked.items()},
    }


def figures(found: operation.Status) -> Figures:
    """Return the status as JSON has it; null stands for what is not known."""
    kafka, database = found.kafka, found.database
    return {
        "ok": not found.problems,
        "problems": dict(found.problems),
        "cluster_id": kafka and kafka.cluster_id,
        "lag": sum(lag.lag for lag in found.lags) if kafka and database else None,
        "partitions": [dataclasses.asdict(lag) for lag in found.lags],
        "members": kafka and [dataclasses.asdict(member) for member in kafka.members],
        "dead_letters": kafka and dataclasses.asdict(kafka.dead_letters),
        "outbox": database and dataclasses.asdict(database.outbox),
        "quarantined": database and dataclasses.asdict(database.quarantined),
        "parked": database and {state: dataclasses.asdict(backlog) for state, backlog in database.parked.items()},
        "owners": database and dict(database.owners),
        "maintained_at": database and database.maintained_at and database.maintained_at.isoformat(timespec="seconds"),
    }


def show(found: operation.Status, asked: Mapping[str, parts.Health]) -> None:
    """Print the status for people: a table of partitions, a line for all else, and what is wrong last."""
    from rich import console, markup  # noqa: PLC0415 - for people only

    out = console.Console(highlight=False)
    if found.lags:
        out.print(_partitions(found))
    for name, text in (*_lines(found), *_lines_of_parts(asked)):
        out.print(f"[bold]{name:<{_WIDTH}}[/bold]{text}", soft_wrap=True)
    for name, problem in (*found.problems.items(), *_problems_of_parts(asked)):
        out.print(f"[bold red]{name:<{_WIDTH}}[/bold red]{markup.escape(' '.join(problem.split()))}", soft_wrap=True)


def _partitions(found: operation.Status) -> table.Table:
    from rich import box, table  # noqa: PLC0415

    shown = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("topic")
    for name in ("partition", "position", "end", "lag", "committed"):
        shown.add_column(name, justify="right")
    for lag in found.lags:
        behind = f"[yellow]{lag.lag:,}[/yellow]" if lag.lag else "0"
        committed = "-" if lag.committed is None else f"{lag.committed:,}"
        shown.add_row(lag.topic, str(lag.partition), f"{lag.position:,}", f"{lag.end:,}", behind, committed)
    return shown


def _lines(found: operation.Status) -> Iterator[tuple[str, str]]:
    if found.lags:
        yield "lag", f"{sum(lag.lag for lag in found.lags):,}"
    if found.database is not None:
        yield from _lines_of_database(found.database)
    if found.kafka is not None:
        yield from _lines_of_kafka(found.kafka)


def _lines_of_database(database: operation.DatabaseFigures) -> Iterator[tuple[str, str]]:
    from rich import markup  # noqa: PLC0415 - for people only

    yield "outbox", _backlog(database.outbox)
    if database.quarantined.rows:
        yield "quarantined", f"[red]{_backlog(database.quarantined)}[/red]"
    parked = [f"{state} {_backlog(backlog)}" for state, backlog in sorted(database.parked.items())]
    yield "parked", ", ".join(parked) or "0"
    yield from ((name, markup.escape(owner)) for name, owner in database.owners.items())
    at = database.maintained_at
    yield "maintained", "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _lines_of_kafka(kafka: operation.KafkaFigures) -> Iterator[tuple[str, str]]:
    for member in kafka.members:
        yield "worker", f"{member.name} on {member.host}, {member.partitions} partitions"
    letters = kafka.dead_letters
    yield "dead letters", f"{letters.count:,}" if letters.is_exact else f"at most {letters.count:,}"


def _lines_of_parts(asked: Mapping[str, parts.Health]) -> Iterator[tuple[str, str]]:
    """Tell what is no problem, but worth knowing: above all, which partitions are held."""
    if not asked:
        yield "parts", "not asked how they are: ALLOCATION_CONSOLE_PARTS names none"
    for name, health in asked.items():
        if not health.problem:
            told = [f"{check} {text}" for check, text in health.well.items() if text != _OK]
            yield name, ", ".join(("ready", *told))


def _problems_of_parts(asked: Mapping[str, parts.Health]) -> Iterator[tuple[str, str]]:
    for name, health in asked.items():
        if health.problem:
            yield name, health.problem


def _backlog(backlog: operation.Backlog) -> str:
    if backlog.oldest_age_s is None:
        return f"{backlog.rows:,}"
    return f"{backlog.rows:,} (the oldest for {backlog.oldest_age_s:,.1f} s)"
