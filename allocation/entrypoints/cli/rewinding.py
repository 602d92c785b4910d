"""`allocation replay rewind`: read a part of the logs again, or handle it anew."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import changing, printing, starting
from allocation.entrypoints.cli import replay_options as options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation import config
    from allocation.service_layer.operations import audit
    from allocation.service_layer.operations.replay import again, rewinding


def rewind(  # noqa: PLR0913 - the options
    *,
    why: changing.Why,
    who: changing.Who = None,
    to_offset: options.ToOffset = None,
    to_timestamp: options.ToTimestamp = None,
    to_earliest: options.ToEarliest = False,
    by: options.By = None,
    topic: options.Topics = None,
    partition: options.Partitions = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Have all workers leave the group for it; they come back by themselves.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Handle the range anew, as new attempts.")] = False,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="TOPIC", help="With --again: allocate, the only one for which it is."),
    ] = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Move the group's offsets back; what the database has is skipped, what it lacks is handled.

    With --again no offset is moved: the commands from there to the position go out once more, as a redrive
    sends them, while workers go on. What is allocated stays; a line that found no room is tried again.
    """
    settings = starting.settings()
    target = options.target(to_offset=to_offset, to_timestamp=to_timestamp, to_earliest=to_earliest, by=by)
    names = _rewound_topics(settings, topic, again=again, only=only, wait=wait)
    note = changing.note(why, who)
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    with bootstrap.rewinder(settings) as rewinder, contextlib.ExitStack() as meanwhile:
        if wait and not dry_run:
            meanwhile.enter_context(rewinder.intermission(note, _tell_who_is_waited_for))
        with printing.working("looking at the topics"):
            moves = rewinder.moves(names, target, partitions=partition or ())
        if not again:
            if dry_run:
                _tell_who_is_in_the_way(rewinder)
            else:
                with printing.working("moving the group"):
                    rewinder.rewind(moves, note)
            _print_moves(moves, as_json=as_json, dry_run=dry_run)
            return
    _handle_again(settings, moves, note, dry_run=dry_run, as_json=as_json)


def _handle_again(
    settings: config.Settings, moves: Sequence[rewinding.Move], note: audit.Note, *, dry_run: bool, as_json: bool
) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations.replay import again  # noqa: PLC0415 - see above

    starts = {move.at: move.target for move in moves}
    ends = {move.at: move.position for move in moves}
    tally, rooms = again.Tally(), Counter[bool]()
    with bootstrap.handling_again(settings) as handling, printing.progress_bar() as on_progress:
        for attempt in handling.run(starts, ends, note, tally=tally, dry_run=dry_run, on_progress=on_progress):
            rooms[attempt.batchref is not None] += 1
            _print_attempt(attempt, as_json=as_json)
    for reason, count in tally.left.items():
        typer.echo(f"{options.count(count, 'command')} left alone: {reason}", err=True)
    verb = "would be sent again" if dry_run else "sent again"
    found = f"{rooms[True]:,} find room as things are, {rooms[False]:,} do not"
    typer.echo(f"{options.count(rooms.total(), 'command')} {verb}: {found}", err=True)


def _print_attempt(attempt: again.Attempt, *, as_json: bool) -> None:
    line = attempt.line
    fields = {"orderid": line.orderid, "sku": line.sku, "qty": line.qty}
    if as_json:
        printing.print_line({"from": attempt.at, "attempt": attempt.number, **fields, "batchref": attempt.batchref})
        return
    room = "no room" if attempt.batchref is None else f"room in {attempt.batchref}"
    typer.echo(f"{attempt.at} attempt {attempt.number}: {line.qty} {line.sku} for {line.orderid}: {room}")


def _print_moves(moves: Sequence[rewinding.Move], *, as_json: bool, dry_run: bool) -> None:
    lines = [
        {
            "topic": move.at.topic,
            "partition": move.at.partition,
            "committed": move.committed,
            "target": move.target,
            "position": move.position,
            "read_again": move.read_again,
        }
        for move in moves
    ]
    if as_json:
        for line in lines:
            printing.print_line(line)
        return
    printing.print_table(list(lines[0]), [list(line.values()) for line in lines])
    moved, again = sum(move.is_one for move in moves), sum(move.read_again for move in moves)
    verb = "would be moved" if dry_run else "moved"
    typer.echo(f"{options.count(moved, 'partition')} {verb}; {again:,} offsets will be read again, and skipped")


def _rewound_topics(
    settings: config.Settings, topic: Sequence[str] | None, *, again: bool, only: str | None, wait: bool
) -> tuple[str, ...]:
    if not again:
        if only is not None:
            raise typer.BadParameter("goes with --again; without it say --topic", param_hint="--only")
        return options.topics(settings, topic, of=options.names(settings).commands.values())
    if wait or topic:
        raise typer.BadParameter("--again goes with --only, and neither with --topic nor with --wait")
    if (
        only is None
        or options.topic(settings, only, of=options.names(settings).commands.values())
        != options.names(settings).allocate
    ):
        raise typer.BadParameter(
            "must be allocate: a quantity set again would undo what was decided since, and batches are there already",
            param_hint="--only",
        )
    return (options.names(settings).allocate,)


def _tell_who_is_in_the_way(rewinder: rewinding.Rewinder) -> None:
    from allocation.service_layer.operations.replay import ports  # noqa: PLC0415 - see above

    try:
        rewinder.check_idle()
    except ports.MembersActive as error:
        typer.echo(f"as things are, it would be refused: {error}", err=True)


def _tell_who_is_waited_for(names: Sequence[str]) -> None:
    typer.echo(f"waiting until these have left the group: {', '.join(names)}", err=True)
