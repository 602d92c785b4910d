"""`allocation parked` and `allocation outbox`: what is held back in the database, and how it is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation.entrypoints.cli import changing, failures, printing, starting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from allocation.service_layer.operations import parked as operation

STATES = ("waiting", "queued", "poisoned")

EXAMPLES = """
Examples:

    allocation parked list --state poisoned
    allocation parked release --sku LAMP --why "the bug is mended"
    allocation parked discard 17 18 --why "never meant to be sent"
"""

app = typer.Typer(
    no_args_is_help=True, help="Look at commands that wait or fail, try them again, or give them up.", epilog=EXAMPLES
)
outbox = typer.Typer(no_args_is_help=True, help="Look at messages that Kafka refused, and have them sent after all.")

Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="As `allocation parked list` shows it.")]
Skus = Annotated[list[str] | None, typer.Option("--sku", metavar="SKU", help="In the queue of this sku.")]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", metavar="QUEUE", help="In this queue: sku:SKU, or ref:BATCHREF.")
]
States = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATE", help=f"{', '.join(STATES)}; may be repeated.")
]


@app.command("list")
def list_(
    *,
    sku: Skus = None,
    queue: Queues = None,
    state: States = None,
    limit: printing.Limit = None,
    as_json: printing.AsJson = False,
) -> None:
    """List parked commands, the oldest first."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    length = limit if as_json else (limit or printing.LIST_LENGTH)
    wanted = _filter(sku=sku, queue=queue, state=state)
    with bootstrap.parked_commands(starting.settings()) as parked:
        found = parked.find(wanted, limit=length)
    _print(found, as_json=as_json)
    if not as_json and limit is None and len(found) == length:
        typer.echo("there may be more; --limit N shows more, --json all", err=True)


@app.command()
def show(
    id_: Annotated[int, typer.Argument(metavar="ID", help="As `allocation parked list` shows it.")],
    *,
    as_json: printing.AsJson = False,
) -> None:
    """Show all of one parked command."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with bootstrap.parked_commands(starting.settings()) as parked:
        found = parked.find(_filter(ids=[id_]))
    if not found:
        failures.give_up(f"no command {id_} is parked; `allocation parked list` shows those that are")
    shown = as_dict(found[0])
    if as_json:
        printing.print_line(shown)
        return
    for name, value in shown.items():
        typer.echo(f"{name:<12}{'-' if value is None else value}")


def _deciding(decision: str) -> Callable[..., None]:
    """Return the command that takes this decision; what it may be told is the same for each."""

    def decide(
        ids: Ids = None,
        *,
        why: changing.Why,
        who: changing.Who = None,
        sku: Skus = None,
        queue: Queues = None,
        state: States = None,
        dry_run: changing.DryRun = False,
        as_json: printing.AsJson = False,
    ) -> None:
        from allocation import bootstrap  # noqa: PLC0415 - see above

        wanted = _filter(ids=ids, sku=sku, queue=queue, state=state)
        if wanted == _filter():
            raise typer.BadParameter("say which commands are meant, by ID, --sku, --queue or --state")
        note = changing.note(why, who)
        with bootstrap.parked_commands(starting.settings()) as parked:
            found = _found(parked.find(wanted))
            if dry_run:
                _print(found, as_json=as_json)
                return
            if decision == "discard":
                results = parked.discard([one.parked for one in found], note)
            else:
                results = [parked.release(queue, note) for queue in dict.fromkeys(one.parked.queue for one in found)]
            _print_results(results, as_json=as_json)

    return decide


_RELEASE_HELP = """Try the poisoned command of a queue again, then what stands behind it.

What fails again stays, and so does all behind it; the exit code is 1 then. With `--state poisoned`: in every queue.
"""
app.command("release", help=_RELEASE_HELP)(_deciding("release"))
app.command("discard", help="Send parked commands to the dead letters, and go on with what stood behind them.")(
    _deciding("discard")
)


@outbox.command("list")
def list_outbox(*, limit: printing.Limit = None, as_json: printing.AsJson = False) -> None:
    """List the messages that Kafka refused, and those of their skus that keep their place behind them."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with bootstrap.quarantine(starting.settings()) as quarantine:
        rows = quarantine.rows(limit=limit)
    if as_json:
        for row in rows:
            printing.print_line(row._asdict())
        return
    names = ("id", "topic", "key", "size_bytes", "created_at", "reason")
    printing.print_table(names, [[getattr(row, name) for name in names] for row in rows])


@outbox.command("release")
def release_outbox(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="As `allocation outbox list` shows it.")],
    *,
    why: changing.Why,
    who: changing.Who = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Have messages sent after all, each with those of its sku behind it."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    note = changing.note(why, who)
    with bootstrap.quarantine(starting.settings()) as quarantine:
        released = quarantine.release(ids, note, dry_run=dry_run)
    if released.unknown:
        rows = ", ".join(map(str, released.unknown))
        failures.give_up(f"not held back: {rows}; nothing was released. `allocation outbox list` shows those that are")
    if as_json:
        printing.print_line({"rows": released.rows, "dry_run": dry_run})
        return
    noun, verb = ("row", "goes") if released.rows == 1 else ("rows", "go")
    typer.echo(f"{released.rows} {noun} {'would go' if dry_run else verb} to Kafka with the relay's next pass")


def _filter(
    *,
    ids: Sequence[int] | None = None,
    sku: Sequence[str] | None = None,
    queue: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
) -> operation.Filter:
    from allocation.service_layer import unit_of_work  # noqa: PLC0415 - see above
    from allocation.service_layer.operations import parked as operation  # noqa: PLC0415 - see above

    for given in state or ():
        if given not in STATES:
            raise typer.BadParameter(f"{given!r} is none of {', '.join(STATES)}", param_hint="--state")
    for given in queue or ():
        if not given.startswith(("sku:", "ref:")):
            raise typer.BadParameter(f"{given!r} is neither sku:SKU nor ref:BATCHREF", param_hint="--queue")
    queues = (*(queue or ()), *map(unit_of_work.sku_queue, sku or ()))
    return operation.Filter(ids=tuple(ids or ()), queues=queues, states=tuple(state or ()))


def _found(found: Sequence[operation.Listed]) -> Sequence[operation.Listed]:
    if not found:
        failures.give_up("no such command is parked; `allocation parked list` shows those that are")
    return found


def as_dict(listed: operation.Listed) -> dict[str, Any]:
    """Return a parked command in the form of the `--json` output."""
    parked, record = listed.parked, listed.parked.message.record
    return {
        "id": parked.id,
        "queue": parked.queue,
        "state": parked.state,
        "reason": parked.reason,
        "error": parked.error,
        "class": parked.error_class or None,
        "stack": parked.stack or None,
        "parked_at": listed.parked_at.isoformat(),
        "age_s": round(listed.age_s, 1),
        "expires_at": None if parked.expires_at is None else parked.expires_at.isoformat(),
        "command": str(parked.message.command),
        "commandid": parked.message.id.id,
        "source": parked.message.id.source,
        "attempt": parked.message.attempt,
        "from": f"{record.topic}/{record.partition}/{record.offset}",
    }


def _print(found: Sequence[operation.Listed], *, as_json: bool) -> None:
    if as_json:
        for one in found:
            printing.print_line(as_dict(one))
        return
    names = ("id", "queue", "state", "age", "reason", "error", "from")
    lines = [as_dict(one) | {"age": printing.duration(one.age_s)} for one in found]
    printing.print_table(names, [[line[name] for name in names] for line in lines])


def _print_results(results: Sequence[operation.Released], *, as_json: bool) -> None:
    for result in results:
        if as_json:
            printing.print_line({"queue": result.queue, **result.counts, "failure": result.failure})
            continue
        done = ", ".join(f"{count} {what}" for what, count in result.counts.items() if count)
        typer.echo(f"{result.queue}: {done or 'nothing could go on'}{_because(result)}")
    if any(result.failure for result in results):
        raise typer.Exit(failures.FAILED)


def _because(result: operation.Released) -> str:
    return "" if result.failure is None else f"; command {result.failure}"
