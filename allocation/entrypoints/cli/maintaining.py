"""`allocation maintenance`: take out old rows, now and then, once, or only say which."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import changing, starting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation import config
    from allocation.service_layer.operations import maintenance as operation


def maintenance(
    *,
    once: Annotated[bool, typer.Option("--once", help="Do it now and end, as a job of cron does.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: changing.AsJson = False,
) -> None:
    """Take out what is older than the retention settings say, while all else goes on.

    Without an option it runs on, and does so at each interval; a second one stands by.
    """
    settings = starting.settings()
    if once or dry_run:
        _print(settings, dry_run=dry_run, as_json=as_json)
        return
    from allocation.entrypoints import maintenance as entrypoint  # noqa: PLC0415 - takes longer to load than `--help`

    entrypoint.run(settings)


def _print(settings: config.Settings, *, dry_run: bool, as_json: bool) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - see above

    with bootstrap.maintenance(settings) as maintenance, _progress_bar() as on_progress:
        done = list(maintenance.run(threading.Event(), dry_run=dry_run, on_progress=on_progress))
    lines = [
        {"table": one.name, "rows": one.rows, "older_than": one.before and one.before.isoformat(timespec="seconds")}
        for one in done
    ]
    if as_json:
        for line in lines:
            changing.print_line(line)
        return
    changing.print_table(("table", "rows that would go" if dry_run else "rows gone", "older than"), map(_row, lines))


def _row(line: Mapping[str, object]) -> tuple[object, ...]:
    return (line["table"], f"{line['rows']:,}", line["older_than"])


@contextlib.contextmanager
def _progress_bar() -> Iterator[operation.Progress]:
    """Show on standard error, while that is a terminal, which table is gone through."""
    from rich import console, progress  # noqa: PLC0415 - see above

    errors = console.Console(stderr=True)
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn())
    with progress.Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("pages")
        yield lambda name, done, total: bar.update(task, description=f"pages of {name}", completed=done, total=total)
