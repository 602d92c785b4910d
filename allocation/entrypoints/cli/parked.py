"""`allocation parked` and `allocation outbox`: what is held back in the database, and how it is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from allocation.entrypoints.cli import changing, failures, starting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from allocation.service_layer.operations import parked as operation

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
    list[str] | None, typer.Option("--state", metavar="STATE", help="waiting, queued or poisoned; may be repeated.")
]


@app.command("list")
def list_(
    *,
    sku: Skus = None,
    queue: Queues = None,
    state: States = None,
    limit: changing.Limit = None,
    as_json: changing.AsJson = False,
) -> None:
    """List parked commands, the oldest first."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    length = limit if as_json else (limit or changing.LIST_LENGTH)
    with bootstrap.parked_commands(starting.settings()) as parked:
        found = parked.find(_filter(sku=sku, queue=queue, state=state), limit=length)
    _print(found, as_json=as_json)
    if not as_json and limit is None and len(found) == length:
        typer.echo("there may be more; --limit N shows more, --json all", err=True)


@app.command()
def show(
    id_: Annotated[int, typer.Argument(metavar="ID", help="As `allocation parked list` shows it.")],
    *,
    as_json: changing.AsJson = False,
) -> None:
    """Show all of one parked command."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with bootstrap.parked_commands(starting.settings()) as parked:
        found = parked.find(_filter(ids=[id_]))
    if not found:
        _fail(f"no command {id_} is parked")
    shown = _as_dict(found[0])
    if as_json:
        changing.print_line(shown)
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
        as_json: changing.AsJson = False,
    ) -> None:
        from allocation import bootstrap  # noqa: PLC0415 - see above

        wanted = _filter(ids=ids, sku=sku, queue=queue, state=state)
        note = changing.note(why, who)
        with bootstrap.parked_commands(starting.settings()) as parked:
            found = _found(parked.find(wanted), needed=wanted)
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
def list_outbox(*, limit: changing.Limit = None, as_json: changing.AsJson = False) -> None:
    """List the messages that Kafka refused, and those of their skus that keep their place behind them."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with bootstrap.quarantine(starting.settings()) as quarantine:
        rows = quarantine.rows(limit=limit)
    if as_json:
        for row in rows:
            changing.print_line(row._asdict())
        return
    names = ("id", "topic", "key", "size_bytes", "created_at", "reason")
    changing.print_table(names, [[getattr(row, name) for name in names] for row in rows])


@outbox.command("release")
def release_outbox(
    id_: Annotated[int, typer.Argument(metavar="ID", help="As `allocation outbox list` shows it.")],
    *,
    why: changing.Why,
    who: changing.Who = None,
) -> None:
    """Have a message sent after all, with those of its sku behind it."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    note = changing.note(why, who)
    with bootstrap.quarantine(starting.settings()) as quarantine:
        count = quarantine.release(id_, note)
    if not count:
        _fail(f"no row {id_} is held back; `allocation outbox list` shows those that are")
    typer.echo(f"{count} {'row goes' if count == 1 else 'rows go'} to Kafka with the relay's next pass")


def _filter(
    *,
    ids: Sequence[int] | None = None,
    sku: Sequence[str] | None = None,
    queue: Sequence[str] | None = None,
    state: Sequence[str] | None = None,
) -> operation.Filter:
    from allocation.service_layer import unit_of_work  # noqa: PLC0415 - see above
    from allocation.service_layer.operations import parked as operation  # noqa: PLC0415 - see above

    queues = (*(queue or ()), *map(unit_of_work.sku_queue, sku or ()))
    return operation.Filter(ids=tuple(ids or ()), queues=queues, states=tuple(state or ()))


def _found(found: Sequence[operation.Listed], *, needed: operation.Filter) -> Sequence[operation.Listed]:
    from allocation.service_layer.operations import parked as operation  # noqa: PLC0415 - see above

    if needed == operation.Filter():
        raise typer.BadParameter("say which commands are meant, by ID, --sku, --queue or --state")
    if not found:
        _fail("no such command is parked")
    return found


def _as_dict(listed: operation.Listed) -> dict[str, Any]:
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
            changing.print_line(_as_dict(one))
        return
    names = ("id", "queue", "state", "age", "reason", "error", "from")
    lines = [_as_dict(one) | {"age": changing.duration(one.age_s)} for one in found]
    changing.print_table(names, [[line[name] for name in names] for line in lines])


def _print_results(results: Sequence[operation.Released], *, as_json: bool) -> None:
    for result in results:
        if as_json:
            changing.print_line({"queue": result.queue, **result.counts, "failure": result.failure})
            continue
        done = ", ".join(f"{count} {what}" for what, count in result.counts.items() if count)
        typer.echo(f"{result.queue}: {done or 'nothing could go on'}{_because(result)}")
    if any(result.failure for result in results):
        raise typer.Exit(failures.FAILED)


def _because(result: operation.Released) -> str:
    return "" if result.failure is None else f"; command {result.failure}"


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"allocation: {sentence}", err=True)
    raise typer.Exit(failures.FAILED)
