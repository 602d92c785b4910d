"""`allocation verify`: see whether commands, database and topics agree."""

from __future__ import annotations

import contextlib
import gc
import json
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from allocation.entrypoints.cli import failures, starting

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rich.console
    import rich.table

    from allocation import config
    from allocation.service_layer.operations.verify import ports, verification

DISAGREE = 1
CANNOT_TELL = 2

# Enough to see what kind of trouble it is, few enough to read.
MAX_FINDINGS = 20


def verify(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    max_findings: Annotated[
        int, typer.Option("--max-findings", min=0, metavar="N", help="Tell so many findings of each kind in full.")
    ] = MAX_FINDINGS,
) -> None:
    """Compare all commands, the database and all topics; the system may go on working.

    Exit code 0: they agree. 1: they do not; each finding names the sku, line, batch or offset.
    2: it cannot be told.
    """
    began = time.monotonic()
    report = compare(starting.settings(), keep=max_findings)
    took_s = time.monotonic() - began
    if as_json:
        typer.echo(json.dumps(as_dict(report, took_s=took_s), indent=2))
    else:
        from rich import console  # noqa: PLC0415 - takes longer to load than `--help` should

        show(report, console.Console(highlight=False), took_s=took_s)
    if report.total:
        raise typer.Exit(DISAGREE)


def compare(settings: config.Settings, *, keep: int) -> verification.Report:
    """Run the comparison with a progress bar; ends the program where it cannot be told."""
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations.verify import sources  # noqa: PLC0415 - see above

    try:
        with _without_collector(), bootstrap.verification(settings) as verification, progress_bar() as on_progress:
            return verification.run(keep=keep, on_progress=on_progress)
    except sources.CannotVerify as error:
        give_up(str(error))
    except Exception as error:
        failure = failures.explain(error)
        if failure is None:
            raise
        give_up(failure.sentence)


def show(report: verification.Report, console: rich.console.Console, *, took_s: float) -> None:
    """Print what was compared, the findings and the verdict."""
    console.print(_table(report))
    for text, count in report.notes.items():
        console.print(f"  {count:,} {text}", style="dim")
    for finding in report.findings:
        console.print(f"[red]{finding.check.title}[/]: ", end="")
        console.print(f"{finding.subject} {finding.text}", markup=False, soft_wrap=True)
    hidden = report.total - len(report.findings)
    if hidden:
        console.print(f"… and {hidden:,} more; --max-findings tells more of them")
    if report.total:
        console.print(f"[red]They do not agree: {report.total:,} findings[/] ({took_s:.1f} s)")
    else:
        console.print(f"[green]Commands, database and topics agree[/] ({took_s:.1f} s)")


def as_dict(report: verification.Report, *, took_s: float) -> dict[str, object]:
    """Return the report in the form of the `--json` output."""
    from allocation.service_layer.operations.verify import findings  # noqa: PLC0415 - see above

    return {
        "agree": not report.total,
        "checks": {
            check.title: {
                "establishes": check.value,
                "compared": report.compared.get(check, 0),
                "findings": report.counts.get(check, 0),
            }
            for check in findings.Check
        },
        "findings": [
            {"check": finding.check.title, "subject": finding.subject, "text": finding.text}
            for finding in report.findings
        ],
        "notes": dict(report.notes),
        "took_s": round(took_s, 3),
    }


@contextlib.contextmanager
def progress_bar(text: str = "reading {task.description}") -> Iterator[ports.Progress]:
    """Show progress on standard error while that is a terminal."""
    from rich import console, progress  # noqa: PLC0415 - see above

    errors = console.Console(stderr=True)
    columns = (progress.TextColumn(text), progress.BarColumn(), progress.MofNCompleteColumn())
    with progress.Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("database")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Look for no garbage: what is read is needed to the end, and going through it again and again takes a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def give_up(sentence: str) -> NoReturn:
    """End the program: it cannot be told whether anything differs."""
    typer.echo(f"allocation: {sentence}", err=True)
    raise typer.Exit(CANNOT_TELL)


def _table(report: verification.Report) -> rich.table.Table:
    from rich import box, table  # noqa: PLC0415 - see above

    from allocation.service_layer.operations.verify import findings  # noqa: PLC0415 - see above

    rows = table.Table("", "", "compared", "findings", box=box.SIMPLE_HEAD)
    rows.columns[2].justify = rows.columns[3].justify = "right"
    for check in findings.Check:
        count = report.counts.get(check, 0)
        style = "red" if count else ""
        rows.add_row(check.title, check.value, f"{report.compared.get(check, 0):,}", f"{count:,}", style=style)
    return rows
