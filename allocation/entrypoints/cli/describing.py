"""`allocation asyncapi | openapi`: what others need to generate clients and documentation; nothing is started."""

from __future__ import annotations

import json

import typer

from allocation.entrypoints.cli import starting


def asyncapi() -> None:
    """Print the AsyncAPI 3.0 document of the topics as JSON, which is YAML, too; no service is needed.

    Topics, operations, headers, keys and Avro schemas, with the names and addresses of these settings.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    typer.echo(json.dumps(bootstrap.asyncapi(starting.settings()), indent=2, ensure_ascii=False))


def openapi() -> None:
    """Print the OpenAPI document of the HTTP API as JSON; no service is needed."""
    from allocation.entrypoints.http_api import application  # noqa: PLC0415 - see above

    typer.echo(json.dumps(application.openapi(), indent=2, ensure_ascii=False))
