"""`allocation replay restore`: let a database that was restored from a back-up catch up."""

from __future__ import annotations

import typer

from allocation.entrypoints.cli import changing, printing, starting


def restore(
    *,
    why: changing.Why,
    who: changing.Who = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Do again what a database restored from a back-up lacks, as the journal says, and announce nothing twice.

    Worker, relay, bridge, API and maintenance must be stopped, and not have been started since the back-up was put
    back.
    Workers refuse to start while this is needed. May be begun again after any error.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    settings, note = starting.settings(), changing.note(why, who)
    with bootstrap.restorer(settings) as restorer, printing.progress_bar("{task.description}") as on_progress:
        done = restorer.run(note, dry_run=dry_run, on_progress=on_progress)
    if as_json:
        printing.print_line({**done._asdict(), "dry_run": dry_run})
    else:
        verb = "would be done again" if dry_run else "done again"
        typer.echo(
            f"{done.rows:,} micro-batches with {done.records:,} commands {verb}"
            if done.rows
            else "the database lacks nothing that the journal tells of"
        )
        typer.echo(f"{done.known:,} messages are on their topics already, {done.unsent:,} are left to the relay")
