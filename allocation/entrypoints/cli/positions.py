"""`allocation position`: how far each log is handled, and what is to become of one that is another now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation.entrypoints.cli import changing, failures, printing, starting
from allocation.entrypoints.cli import replay_options as options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer.operations import positions as operation

EXAMPLES = """
Examples:

    allocation position list
    allocation position adopt allocate --at end --why "its topic was deleted by mistake; senders send anew"
    allocation position restart allocate --why "its topic was filled again from the archive"
"""

app = typer.Typer(
    no_args_is_help=True, help="Decide where to go on in a log that is not the one handled so far.", epilog=EXAMPLES
)

At = Annotated[
    str, typer.Option("--at", metavar="begin|end|OFFSET", help="Where to go on; what lies before is not handled.")
]


@app.command("list")
def list_(*, as_json: printing.AsJson = False) -> None:
    """List how far the logs of commands are handled, and which a worker does not touch; the exit code is 1 then."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    with bootstrap.positions(starting.settings()) as positions:
        found = positions.examine()
    lines = [_as_dict(one) for one in found]
    if as_json:
        for line in lines:
            printing.print_line(line)
    else:
        columns = ("topic", "partition", "begin", "position", "end", "problem")
        printing.print_table(columns, [[line[name] for name in columns] for line in lines])
    if any(one.problem for one in found):
        raise typer.Exit(failures.FAILED)


@app.command()
def adopt(
    topic: options.OneTopic,
    *,
    at: At,
    why: changing.Why,
    who: changing.Who = None,
    partition: options.Partitions = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Take the log of a topic as it is now, and go on at a place in it; workers do so within a second.

    Only partitions that do not fit are touched, all of them unless --partition names some.
    """
    if at not in ("begin", "end") and not at.isdecimal():
        raise typer.BadParameter(f"{at!r} is neither begin nor end, and no offset", param_hint="--at")
    where: Any = int(at) if at.isdecimal() else at
    decided = _decide(topic, where, what="adopted", note=(why, who), partitions=partition, dry_run=dry_run)
    _print(decided, as_json=as_json, dry_run=dry_run)


@app.command()
def restart(
    topic: options.OneTopic,
    *,
    why: changing.Why,
    who: changing.Who = None,
    partition: options.Partitions = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Handle the log of a topic as it is now from its first record; workers do so within a second.

    A command that was handled under the same id is known, and changes nothing.
    """
    decided = _decide(topic, "begin", what="restarted", note=(why, who), partitions=partition, dry_run=dry_run)
    _print(decided, as_json=as_json, dry_run=dry_run)


def _decide(
    topic: str,
    where: operation.Where,
    *,
    what: str,
    note: tuple[str, str | None],
    partitions: Sequence[int] | None,
    dry_run: bool,
) -> Sequence[operation.Decided]:
    from allocation import bootstrap  # noqa: PLC0415 - see above

    settings = starting.settings()
    name = options.topic(settings, topic, of=options.names(settings).commands.values())
    written = changing.note(*note)
    with bootstrap.positions(settings) as positions:
        return positions.decide(name, where, written, what=what, partitions=partitions or (), dry_run=dry_run)


def _print(decided: Sequence[operation.Decided], *, as_json: bool, dry_run: bool) -> None:
    for one in decided:
        if as_json:
            printing.print_line(
                {"topic": one.at.topic, "partition": one.at.partition, "before": one.before}
                | {"next_offset": one.next_offset, "dry_run": dry_run}
            )
            continue
        before = "" if one.before is None else f" instead of {one.before}"
        typer.echo(f"{one.at} {'would go on' if dry_run else 'goes on'} at offset {one.next_offset}{before}")


def _as_dict(one: operation.Examined) -> dict[str, Any]:
    return {
        "topic": one.at.topic,
        "partition": one.at.partition,
        "topic_id": None if one.bounds is None else one.bounds.topic_id,
        "begin": None if one.bounds is None else one.bounds.begin,
        "end": None if one.bounds is None else one.bounds.end,
        "position": None if one.position is None else one.position.next_offset,
        "problem": one.problem,
    }
