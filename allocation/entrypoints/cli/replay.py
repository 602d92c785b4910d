"""`allocation replay`: handle what is in the logs again, pass over it, or publish events again.

Whatever is done here, what the database holds is not done twice: its position decides, not the group's offsets.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation.entrypoints.cli import changing, printing, rebuilding, restoring, rewinding, starting, times, verifying
from allocation.entrypoints.cli import replay_options as options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allocation import config
    from allocation.service_layer.operations.replay import plan as plan_operation
    from allocation.service_layer.operations.replay import resending

EXAMPLES = """
Examples:

    allocation replay plan --from 2030-01-31T08:00+01:00
    allocation replay rewind --to-timestamp 2030-01-31T08:00Z --wait --why "to be sure"
    allocation replay rewind --again --only allocate --by -1000 --why "the stock was entered late" --dry-run
    allocation replay resend --from 2030-01-31T08:00Z --sku LAMP --why "the data warehouse lost a day"
    allocation replay rebuild --into trial --compare
    allocation replay promote trial --why "somebody changed stock by hand"
    allocation replay rebuild --into trial --compare --promote --why "a drill"
    allocation replay skip allocate --partition 3 --to-offset 1500 --why "a test of the web shop"
"""

app = typer.Typer(
    no_args_is_help=True,
    help="Read logs again, pass over a part of one, publish events again, rebuild or restore the database.",
    epilog=EXAMPLES,
)

From = Annotated[
    datetime | None,
    typer.Option(
        "--from", parser=times.moment, metavar="TIME", help=f"Tell what a replay from then would read, {times.HELP}."
    ),
]


@app.command()
def plan(
    *,
    since: From = None,
    topic: options.Topics = None,
    partition: options.Partitions = None,
    as_json: printing.AsJson = False,
) -> None:
    """Show how far each log goes back, how far it is handled, and what a replay would read.

    A replay can only begin where a log does: `removed` counts the offsets that retention has taken.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    settings = starting.settings()
    names = options.topics(settings, topic, of=all_topics(settings))
    with printing.working("looking at the topics"), bootstrap.replay_planner(settings) as planner:
        lines = planner.plan(names, partitions=partition or (), since=since)
    shown = [fields(line) for line in lines]
    if as_json:
        for line in shown:
            printing.print_line(line)
        return
    columns = [name for name in shown[0] if name != "is_cut" and (since or name not in ("start", "covered"))]
    printing.print_table(columns, [[line[name] for name in columns] for line in shown])
    if since:
        typer.echo(
            f"a replay from {since.isoformat()} reads {sum(line.covered or 0 for line in lines):,} offsets of these"
        )
    cut = [f"{line.topic}/{line.partition}" for line in lines if line.is_cut]
    if cut:
        typer.echo(f"retention may have taken records of that time from {', '.join(cut)}", err=True)


app.command()(rewinding.rewind)
app.command()(rebuilding.rebuild)
app.command()(rebuilding.compare)
app.command()(rebuilding.promote)
app.command()(restoring.restore)
app.command()(verifying.verify)  # where one looks for it after a replay


@app.command()
def skip(
    topic: options.OneTopic,
    *,
    why: changing.Why,
    who: changing.Who = None,
    partition: Annotated[int, typer.Option("--partition", min=0, metavar="N", help="Of this partition.")],
    to_offset: options.ToOffset = None,
    to_timestamp: options.ToTimestamp = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Pass over what lies between the position of a partition and a place: it is never handled.

    The journal says so, and `allocation verify` knows. Workers may go on meanwhile.
    """
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations.replay import ports, targets  # noqa: PLC0415 - see above

    settings = starting.settings()
    name = options.topic(settings, topic, of=options.names(settings).commands.values())
    target = options.target(to_offset=to_offset, to_timestamp=to_timestamp)
    assert isinstance(target, targets.ToOffset | targets.ToTime)  # noqa: S101 - for the type checker
    at, note = ports.TopicPartition(name, partition), changing.note(why, who)
    with bootstrap.skipper(settings) as skipper, printing.progress_bar() as on_progress:
        skipped = skipper.skip(at, target, note, dry_run=dry_run, on_progress=on_progress)
    if as_json:
        printing.print_line(
            {"topic": name, "partition": partition, "first": skipped.first, "last": skipped.last}
            | {"commands": skipped.commands, "dry_run": dry_run}
        )
        return
    verb = "would be skipped" if dry_run else "skipped"
    typer.echo(f"{at}: offsets {skipped.first} to {skipped.last} {verb}, {options.count(skipped.commands, 'command')}")


@app.command()
def resend(  # noqa: PLR0913 - the options
    *,
    since: Annotated[
        datetime, typer.Option("--from", parser=times.moment, metavar="TIME", help=f"Sent from then on, {times.HELP}.")
    ],
    why: changing.Why,
    who: changing.Who = None,
    until: Annotated[
        datetime | None, typer.Option("--to", parser=times.moment, metavar="TIME", help="Sent before then.")
    ] = None,
    orderid: Annotated[list[str] | None, typer.Option("--orderid", metavar="ID", help="Of this order.")] = None,
    sku: Annotated[list[str] | None, typer.Option("--sku", metavar="SKU", help="Of this sku.")] = None,
    topic: options.Topics = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Publish events again, with their ids and numbers, marked as resent by the header `allocation_resent`.

    For readers that have lost some. Redis and the buying team do not hear of them again.
    """
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations.replay import resending  # noqa: PLC0415 - see above

    settings = starting.settings()
    names = options.topics(settings, topic, of=options.names(settings).events.values())
    wanted = resending.Filter(
        since=since,
        until=until,
        orderids=frozenset(orderid or ()),
        skus=frozenset(sku or ()),
    )
    note = changing.note(why, who)
    with bootstrap.resender(settings) as resender, printing.progress_bar() as on_progress:
        events = resender.run(names, wanted, note, dry_run=dry_run, on_progress=on_progress)
        counts = _print_events(events, as_json=as_json)
    verb = "would go out again" if dry_run else "go out again with the relay's next passes"
    typer.echo(f"{options.count(counts, 'event')} {verb}", err=True)


def _print_events(events: Iterable[resending.Event], *, as_json: bool) -> int:
    count = 0
    for count, event in enumerate(events, start=1):  # noqa: B007 - it is returned
        if as_json:
            printing.print_line({"from": event.at, **event.fields})
        else:
            typer.echo(f"{event.at} {' '.join(f'{name}={value}' for name, value in event.fields.items())}")
    return count


def fields(line: plan_operation.Line) -> dict[str, Any]:
    """Return a line of the plan in the form of the `--json` output."""
    values = dataclasses.asdict(line)
    return values | {name: values[name] and values[name].isoformat() for name in ("first_at", "newest_at")}


def all_topics(settings: config.Settings) -> tuple[str, ...]:
    """Return the topics that a plan covers: all but the relay's own."""
    names = options.names(settings)
    return (*names.commands.values(), *names.events.values(), names.dead_letter, names.journal)
