"""`allocation verify`: see whether commands, database and topics agree."""

from __future__ import annotations

import contextlib
import gc
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import failures, printing, starting

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rich.console
    import rich.table

    from allocation import config
    from allocation.service_layer.operations.verify import verification

DISAGREE = 1
CANNOT_TELL = 2

# Enough to see what kind of trouble it is, few enough to read.
MAX_FINDINGS = 20


def verify(
    *,
    as_json: printing.AsJson = False,
    max_findings: Annotated[
        int, typer.Option("--max-findings", min=0, metavar="N", help="Tell so many findings of each kind in full.")
    ] = MAX_FINDINGS,
    every_s: Annotated[
        float | None,
        typer.Option(
            "--every", min=1, metavar="SECONDS", help="Compare again and again, so long after each, until they differ."
        ),
    ] = None,
) -> None:
    """Compare all commands, the database and all topics; the system may go on working.

    Exit code 0: they agree. 1: they do not; each finding names the sku, line, batch or offset.
    2: it cannot be told. With --every it goes on while they agree, also through outages, until Ctrl-C.
    """
    settings = starting.settings()
    if every_s is None:
        report, took_s = _timed(settings, keep=max_findings)
        _print(report, as_json=as_json, took_s=took_s)
    else:
        report = _watch(settings, keep=max_findings, every_s=every_s, as_json=as_json)
    if report.total:
        raise typer.Exit(DISAGREE)


def _watch(settings: config.Settings, *, keep: int, every_s: float, as_json: bool) -> verification.Report:
    """Compare until something differs, a line each time; what cannot be told now may be told later."""
    while True:
        try:
            report, took_s = _timed(settings, keep=keep)
        except typer.Exit:  # the reason was said
            time.sleep(every_s)
            continue
        if report.total:
            _print(report, as_json=as_json, took_s=took_s)
            return report
        at = datetime.now(UTC).isoformat(timespec="seconds")
        compared = sum(report.compared.values())
        if as_json:
            typer.echo(json.dumps({"at": at, "agree": True, "compared": compared, "took_s": round(took_s, 3)}))
        else:
            typer.echo(f"{at} agree, {compared:,} compared ({took_s:.1f} s)")
        time.sleep(every_s)


def _timed(settings: config.Settings, *, keep: int) -> tuple[verification.Report, float]:
    began = time.monotonic()
    report = compare(settings, keep=keep)
    return report, time.monotonic() - began


def _print(report: verification.Report, *, as_json: bool, took_s: float) -> None:
    if as_json:
        typer.echo(json.dumps(as_dict(report, took_s=took_s), indent=2))
        return
    from rich import console  # noqa: PLC0415 - takes longer to load than `--help` should

    show(report, console.Console(highlight=False), took_s=took_s)


def compare(settings: config.Settings, *, keep: int) -> verification.Report:
    """Run the comparison with a progress bar; ends the program where it cannot be told."""
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations.verify import sources  # noqa: PLC0415 - see above

    try:
        with (
            _without_collector(),
            bootstrap.verification(settings) as verification,
            printing.progress_bar() as on_progress,
        ):
            return verification.run(keep=keep, on_progress=on_progress)
    except sources.CannotVerify as error:
        failures.give_up(str(error), status=CANNOT_TELL)
    except Exception as error:
        failure = failures.explain(error)
        if failure is None:
            raise
        failures.give_up(failure.sentence, status=CANNOT_TELL)


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
def _without_collector() -> Iterator[None]:
    """Look for no garbage: what is read is needed to the end, and going through it again and again takes a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


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
