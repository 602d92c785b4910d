"""`allocation replay rebuild`, `compare` and `promote`: the database once more, from the logs, beside the live one."""

from __future__ import annotations

import time
from datetime import datetime  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation.entrypoints.cli import changing, failures, printing, starting, times, verifying

if TYPE_CHECKING:
    from allocation import config
    from allocation.service_layer.operations import audit
    from allocation.service_layer.operations.replay import comparing, rebuilding

DIFFER = 1
MAX_DIFFERENCES = 20  # enough to see what kind of trouble it is, few enough to read
_PROGRESS = "{task.description}"

Schema = Annotated[str, typer.Argument(metavar="SCHEMA", help="As `rebuild --into` named it.")]
Database = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="The schema is in this database.", show_default="the live one"),
]
Keep = Annotated[int, typer.Option("--max-differences", min=0, metavar="N", help="Tell so many differences in full.")]


def rebuild(  # noqa: PLR0913 - the options
    *,
    into: Annotated[str, typer.Option("--into", metavar="SCHEMA", help="Made when it is not there.")],
    until: Annotated[
        datetime | None,
        typer.Option("--until", parser=times.moment, metavar="TIME", help=f"What was handled by then, {times.HELP}."),
    ] = None,
    outbound: Annotated[
        str, typer.Option("--outbound", metavar="suppressed|PREFIX", help="Send events to topics with this prefix.")
    ] = "suppressed",
    database_url: Database = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop the schema first.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Compare it with the live one afterwards.")] = False,
    keep: Keep = MAX_DIFFERENCES,
    promote: Annotated[
        bool,
        typer.Option("--promote", help="Put it in the place of the live one; with --compare, only if nothing differs."),
    ] = False,
    why: Annotated[
        str | None, typer.Option("--why", metavar="TEXT", help="With --promote: the reason, for the audit.")
    ] = None,
    who: changing.Who = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Handle all commands once more, into a schema of their own, as the journal says that it was done.

    No timer runs and nothing is sent, so the same logs give the same rows. A schema that is there
    already catches up. The live installation may go on meanwhile.

    Without a journal the timestamps give the order; then nobody can promise the same rows.

    With --compare the exit code is 1 when something differs, and 2 when it cannot be told.

    With --promote, what `promote` asks for is looked at before anything is done, and again at the end.
    """
    if dry_run and compare:
        raise typer.BadParameter("goes without --dry-run, which rebuilds nothing to compare", param_hint="--compare")
    note = _promotion(why, who, is_possible=not (dry_run or until or database_url)) if promote else None
    if why is not None and note is None:
        raise typer.BadParameter("goes with --promote; nothing else here is for the audit", param_hint="--why")
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.bootstrap import rebuilding as parts  # noqa: PLC0415 - see above

    settings = starting.settings()
    wish = parts.Wish(
        into=into,
        database_url=database_url,
        until=until,
        outbound_prefix=_prefix(outbound),
        fresh=fresh,
        to_be_promoted=promote,
    )
    began = time.monotonic()
    with bootstrap.rebuilder(settings, wish) as rebuilder, printing.progress_bar(_PROGRESS) as on_progress:
        plan = rebuilder.plan(on_progress)
        summary = None if dry_run else rebuilder.run(plan, on_progress)
    if summary is None:
        _tell_plan(plan, into, as_json=as_json)
        return
    _tell_summary(summary, into, took_s=time.monotonic() - began, as_json=as_json)
    differs = compare and _compare(settings, into, database_url=database_url, keep=keep, as_json=as_json)
    if note is not None:
        _promote_checked(settings, into, note, differs=differs, uncovered=summary.uncovered, as_json=as_json)
    if differs:
        raise typer.Exit(DIFFER)


def compare(
    schema: Schema, *, database_url: Database = None, keep: Keep = MAX_DIFFERENCES, as_json: printing.AsJson = False
) -> None:
    """Tell how the live database differs from a rebuilt one, by sku, batch and line.

    Exit code 0: it does not. 1: it does. 2: it cannot be told.
    """
    if _compare(starting.settings(), schema, database_url=database_url, keep=keep, as_json=as_json):
        raise typer.Exit(DIFFER)


def promote(
    schema: Schema,
    *,
    why: changing.Why,
    who: changing.Who = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Put a rebuilt schema in the place of the live tables, which are kept in a schema with today's date.

    One transaction. Worker, relay, bridge, API and maintenance must be stopped, everything in the outbox sent,
    and the schema up to date. Compare first.
    """
    note = changing.note(why, who)
    _promote(starting.settings(), schema, note, dry_run=dry_run, as_json=as_json)


def _promotion(why: str | None, who: str | None, *, is_possible: bool) -> audit.Note:
    """Return what the audit is told of a promotion that follows a rebuild."""
    if not is_possible:
        raise typer.BadParameter("goes with none of --dry-run, --until and --database-url", param_hint="--promote")
    return changing.note(why or "", who)


def _promote_checked(
    settings: config.Settings, schema: str, note: audit.Note, *, differs: bool, uncovered: int, as_json: bool
) -> None:
    """Promote what was just rebuilt, unless it may be the rebuilt one that is wrong: a person decides then."""
    if uncovered or differs:
        why_not = "it may lack what those commands did" if uncovered else "it differs from the live one"
        failures.give_up(
            f"{schema} is not promoted: {why_not}; `allocation replay promote {schema}` does it all the same"
        )
    _promote(settings, schema, note, dry_run=False, as_json=as_json)


def _promote(settings: config.Settings, schema: str, note: audit.Note, *, dry_run: bool, as_json: bool) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with printing.progress_bar(_PROGRESS) as on_progress:
        done = bootstrap.promote_rebuilt(settings, schema, note, dry_run=dry_run, on_progress=on_progress)
    if as_json:
        printing.print_line({"promoted": schema, "live": done.live, "old": done.old, "dry_run": dry_run})
        return
    is_, are = ("would be", "would be") if dry_run else ("is", "are")
    typer.echo(f"{schema} {is_} live now, in schema {done.live}; the old tables {are} kept in schema {done.old}")


def _compare(settings: config.Settings, schema: str, *, database_url: str | None, keep: int, as_json: bool) -> bool:
    """Print what differs; return whether anything does."""
    from allocation import bootstrap  # noqa: PLC0415 - see above

    try:
        with printing.progress_bar(_PROGRESS) as on_progress:
            found = bootstrap.compare_rebuilt(
                settings, schema, database_url=database_url, keep=keep, on_progress=on_progress
            )
    except Exception as error:
        failure = failures.explain(error)
        if failure is None:
            raise
        failures.give_up(failure.sentence, status=verifying.CANNOT_TELL)
    if as_json:
        printing.print_line(as_dict(found))
    else:
        _show(found, schema)
    return bool(found.count)


def _show(found: comparing.Comparison, schema: str) -> None:
    for difference in found.differences:
        typer.echo(str(difference))
    if found.count > len(found.differences):
        typer.echo(f"… and {found.count - len(found.differences):,} more; --max-differences tells more of them")
    if found.behind:
        remedy = f"`allocation replay rebuild --into {schema}` does them"
        typer.echo(f"{schema} lacks {found.behind:,} newer micro-batches; {remedy}", err=True)
    typer.echo(f"{found.compared:,} rows compared, {found.count:,} differ")


def as_dict(found: comparing.Comparison) -> dict[str, Any]:
    """Return a comparison in the form of the `--json` output."""
    return {
        "equal": not found.count,
        "compared": found.compared,
        "differ": found.count,
        "behind": found.behind,
        "differences": [one._asdict() for one in found.differences],
    }


def _tell_plan(plan: Any, into: str, *, as_json: bool) -> None:
    if as_json:
        printing.print_line({"into": into, "rows": plan.count, "records": plan.records, "exact": plan.is_exact})
    elif plan.is_exact:
        typer.echo(f"{into} would do {plan.count:,} micro-batches with {plan.records:,} commands, as the journal says")
    else:
        typer.echo(f"there is no whole journal: {into} would take all commands in the order of their timestamps")


def _tell_summary(summary: rebuilding.Summary, into: str, *, took_s: float, as_json: bool) -> None:
    if as_json:
        printing.print_line(
            {"into": into, "rows": summary.rows, "outcomes": dict(summary.counts), "events": summary.events}
            | {"exact": summary.is_exact, "uncovered": summary.uncovered, "took_s": round(took_s, 3)}
        )
        return
    told = ", ".join(f"{count:,} {what}" for what, count in summary.counts.items()) or "nothing to do"
    typer.echo(f"{into}: {told}; {summary.events:,} events ({took_s:.1f} s)")
    if not summary.is_exact:
        typer.echo(
            "There is no whole journal, so the order is that of the timestamps, then of topic, partition and offset; "
            "that the rows are those of the live database is not promised",
            err=True,
        )
    if summary.uncovered:
        typer.echo(
            f"{summary.uncovered:,} commands are named by no row of the journal, and were left out; "
            "that the rows are those of the live database is not promised",
            err=True,
        )


def _prefix(outbound: str) -> str | None:
    from allocation import config  # noqa: PLC0415 - see above

    if outbound == "suppressed":
        return None
    if not outbound or not config.is_topic_prefix(outbound):
        raise typer.BadParameter(
            f"{outbound!r} is neither suppressed nor the beginning of a topic's name (letters, digits, . _ -)",
            param_hint="--outbound",
        )
    return outbound
