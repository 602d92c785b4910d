"""`allocation move`: go on with another Kafka cluster."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from allocation.entrypoints.cli import changing, printing, starting


def move(
    *,
    source: Annotated[
        str, typer.Option("--from", metavar="HOST:PORT,…", help="The old cluster; the settings name the new one.")
    ],
    source_config: Annotated[
        str | None,
        typer.Option(
            "--from-config",
            metavar="JSON",
            help="Further librdkafka settings for the old one.",
            show_default="ALLOCATION_KAFKA_CONFIG",
        ),
    ] = None,
    why: changing.Why,
    who: changing.Who = None,
    dry_run: changing.DryRun = False,
    as_json: printing.AsJson = False,
) -> None:
    """Copy all topics to another Kafka cluster, each record to its own offset, and bind the database to it.

    Senders, worker, relay, bridge and API must be stopped, and the outbox be empty. The old cluster is only read.
    `allocation init` must follow. Cut short, delete the topics on the new cluster and begin again.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.adapters.kafka import clients  # noqa: PLC0415 - see above

    settings, note = starting.settings(), changing.note(why, who)
    config = settings.kafka_config if source_config is None else _parsed(source_config)
    old = clients.ClientConfig(source, config)
    with printing.progress_bar("copying {task.description}") as on_progress:
        count = bootstrap.move(settings, old, note, dry_run=dry_run, on_progress=on_progress)
    if as_json:
        printing.print_line({"records": count, "dry_run": dry_run})
    elif dry_run:
        typer.echo(f"up to {count:,} records would be copied")
    else:
        typer.echo(f"{count:,} records copied; the database belongs to the new cluster. Now run `allocation init`")


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter('must be JSON, such as {"security.protocol": "SASL_SSL"}', param_hint="--from-config")
    return found
