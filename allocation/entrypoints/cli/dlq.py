"""`allocation dlq`: what was refused or could not be read, and what is to become of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation.entrypoints.cli import changing, failures, printing, starting
from allocation.entrypoints.cli import dead_letter_options as options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allocation import config
    from allocation.service_layer.operations import dead_letter_desk, dead_letters

EXAMPLES = """
Examples:

    allocation dlq list --reason invalid_sku --since 2030-01-31T08:00+01:00
    allocation dlq show 3:17
    allocation dlq redrive --reason invalid_sku --sku LAMP --why "its batch is there now" --dry-run
    allocation dlq discard 3:17 --why "a test of the web shop"
"""

app = typer.Typer(no_args_is_help=True, help="Look at dead letters, send them back, or settle them.", epilog=EXAMPLES)

All = Annotated[bool, typer.Option("--all", help="All that are open; needed where no filter is given.")]


@app.command("list")
def list_(  # noqa: PLR0913 - the options
    *,
    reason: options.Reasons = None,
    stack: options.Stacks = None,
    topic: options.Topics = None,
    key: options.Keys = None,
    since: options.Since = None,
    until: options.Until = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that nothing was decided on.")] = False,
    limit: printing.Limit = None,
    as_json: printing.AsJson = False,
) -> None:
    """List dead letters, the oldest first, with what was decided on them; with --json as they lie in each partition."""
    settings = starting.settings()
    wanted = options.wanted(settings, reason=reason, stack=stack, topic=topic, key=key, since=since, until=until)
    with _desk(settings) as desk:
        found = (one for one in desk.find(wanted) if not (only_open and one.decision))
        if as_json:
            for one in _chosen(found, limit):
                printing.print_line(as_dict(one))
            return
        with printing.working("reading the dead letters"):
            shown = list(_chosen(found, (limit or printing.LIST_LENGTH) + 1))
    shown.sort(key=lambda one: one.age_order)
    length = limit or printing.LIST_LENGTH
    _print_table(shown[:length])
    if len(shown) > length:
        typer.echo("there are more; --limit N shows more, --json all", err=True)


@app.command()
def show(
    place: options.Place,
    *,
    as_json: printing.AsJson = False,
) -> None:
    """Show all of one dead letter, its value decoded where that is possible."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    settings = starting.settings()
    wanted = options.wanted(settings, places=[place])
    with _desk(settings) as desk, bootstrap.decoder(settings) as decoder:
        with printing.working("looking for it"):
            found = next(desk.find(wanted), None)
        if found is None:
            failures.give_up(f"there is no dead letter at {place}; `allocation dlq list` shows those that there are")
        line = decoder.line(found.letter.record)
    shown = as_dict(found) | {name: line[name] for name in ("value", "value_base64", "headers") if name in line}
    if as_json:
        printing.print_line(shown)
        return
    for name, value in shown.items():
        typer.echo(f"{name:<14}{'-' if value is None else value}")


def _deciding(decision: str) -> Callable[..., None]:
    """Return the command that takes this decision; what it may be told is the same for each."""

    def decide(  # noqa: PLR0913 - the options
        places: options.Places = None,
        *,
        why: changing.Why,
        who: changing.Who = None,
        reason: options.Reasons = None,
        stack: options.Stacks = None,
        topic: options.Topics = None,
        key: options.Keys = None,
        since: options.Since = None,
        until: options.Until = None,
        everything: All = False,
        limit: printing.Limit = None,
        dry_run: changing.DryRun = False,
        as_json: printing.AsJson = False,
    ) -> None:
        settings = starting.settings()
        wanted = options.wanted(
            settings, reason=reason, stack=stack, topic=topic, key=key, since=since, until=until, places=places
        )
        _need_filter(wanted, everything=everything)
        note = changing.note(why, who)
        with _desk(settings) as desk:
            found = _chosen(_undecided(desk.find(wanted), wanted), limit)
            take = {"redriven": desk.redrive, "discarded": desk.discard}[decision]
            _print_results(take(found, note, dry_run=dry_run), decision, as_json=as_json, dry_run=dry_run)

    return decide


_REDRIVE_HELP = """Send dead letters back to the topics that they came from, each as the next attempt of its command.

They go through the outbox: the relay sends them. One that was redriven before is left alone; one
that was discarded is redriven only if it is named by its place.
"""
app.command("redrive", help=_REDRIVE_HELP)(_deciding("redriven"))
app.command("discard", help="Note that nothing is to be done about dead letters; they stay on their topic.")(
    _deciding("discarded")
)


@contextlib.contextmanager
def _desk(settings: config.Settings) -> Iterator[dead_letter_desk.DeadLetterDesk]:
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    with bootstrap.dead_letters(settings) as desk:
        yield desk


def _need_filter(wanted: dead_letters.Filter, *, everything: bool) -> None:
    if wanted.is_open and not everything:
        raise typer.BadParameter("say which dead letters are meant, by PARTITION:OFFSET, a filter or --all")


def _undecided(
    found: Iterator[dead_letter_desk.Found], wanted: dead_letters.Filter
) -> Iterator[dead_letter_desk.Found]:
    """Leave out what was decided on, unless it was named: then it is said what was decided."""
    return (one for one in found if wanted.places or one.decision is None)


def _chosen(found: Iterator[dead_letter_desk.Found], limit: int | None) -> Iterator[dead_letter_desk.Found]:
    from allocation.service_layer.operations import dead_letter_desk  # noqa: PLC0415 - see above

    return iter(dead_letter_desk.choose(found, limit=limit))


def as_dict(found: dead_letter_desk.Found) -> dict[str, Any]:
    """Return a dead letter in the form of the `--json` output."""
    letter, decision = found.letter, found.decision
    return {
        "place": str(letter.place),
        "time": letter.time.isoformat(),
        "reason": letter.reason,
        "class": letter.error_class or None,
        "stack": letter.stack or None,
        "error": letter.error,
        "attempt": letter.attempt,
        "from": None if letter.origin is None else str(letter.origin),
        "key": letter.key,
        "state": "open" if decision is None else decision.what,
        "decision": None if decision is None else str(decision),
    }


def _print_table(shown: list[dead_letter_desk.Found]) -> None:
    names = ("place", "time", "reason", "from", "attempt", "key", "state")
    lines = [as_dict(one) for one in shown]
    for line in lines:
        line["time"] = line["time"][: len("2030-01-31T08:00:00")]
    printing.print_table(names, [[line[name] for name in names] for line in lines])


def _print_results(results: Iterator[dead_letter_desk.Result], done: str, *, as_json: bool, dry_run: bool) -> None:
    from allocation.service_layer.operations import dead_letter_desk  # noqa: PLC0415 - see above

    counts: Counter[str] = Counter()
    for result in results:
        letter = result.letter
        match result:
            case dead_letter_desk.Done():
                what, text = done, f"{'would be ' if dry_run else ''}{done}"
            case dead_letter_desk.Already(_, decision):
                what, text = "already", f"left as it is: {decision}"
            case dead_letter_desk.Impossible(_, error):
                what, text = "impossible", f"cannot be redriven: {error}"
        counts[what] += 1
        line = {"place": str(letter.place), "from": str(letter.origin), "result": what, "text": text}
        _printer(as_json=as_json)(line)
    if not counts:
        failures.give_up("no such dead letter is open; `allocation dlq list` shows those that there are")
    typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()), err=True)
    if counts["impossible"]:
        raise typer.Exit(failures.FAILED)


def _printer(*, as_json: bool) -> Callable[[dict[str, Any]], None]:
    if as_json:
        return printing.print_line
    return lambda line: typer.echo(f"{line['place']} of {line['from']} {line['text']}")
