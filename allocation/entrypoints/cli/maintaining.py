"""`allocation maintenance`: take out old rows, now and then, once, or only say which."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import printing, starting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation import config


def maintenance(
    *,
    once: Annotated[bool, typer.Option("--once", help="Do it now and end, as a job of cron does.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: printing.AsJson = False,
) -> None:
    """Take out what is older than the retention settings say, while all else goes on.

    Without an option it runs on, and does so at each interval; a second one stands by.
    """
    if as_json and not (once or dry_run):
        raise typer.BadParameter("goes with --once or --dry-run: without them there is a log", param_hint="--json")
    settings = starting.settings()
    if once or dry_run:
        _print(settings, dry_run=dry_run, as_json=as_json)
        return
    from allocation.entrypoints import maintenance as entrypoint  # noqa: PLC0415 - takes longer to load than `--help`

    entrypoint.run(settings)


def _print(settings: config.Settings, *, dry_run: bool, as_json: bool) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with (
        bootstrap.maintenance(settings) as maintenance,
        printing.progress_bar("pages of {task.description}") as on_progress,
    ):
        done = list(maintenance.run(threading.Event(), dry_run=dry_run, on_progress=on_progress))
    lines = [
        {"table": one.name, "rows": one.rows, "older_than": one.before and one.before.isoformat(timespec="seconds")}
        for one in done
    ]
    if as_json:
        for line in lines:
            printing.print_line(line)
        return
    printing.print_table(("table", "rows that would go" if dry_run else "rows gone", "older than"), map(_row, lines))


def _row(line: Mapping[str, object]) -> tuple[object, ...]:
    return (line["table"], f"{line['rows']:,}", line["older_than"])
