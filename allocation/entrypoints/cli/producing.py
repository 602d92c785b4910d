"""`allocation produce`: commands from options, or as JSON lines from a file or standard input."""

from __future__ import annotations

import uuid
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import Annotated

import typer

from allocation.entrypoints.cli import sending, starting

EXAMPLES = """
Examples:

    allocation produce create-batch --ref b1 --sku LAMP --qty 9 --eta 2027-01-31
    allocation produce allocate --orderid o1 --sku LAMP --qty 3
    allocation produce --file commands.jsonl    # - for standard input

A line of a file (the id may be left out):

    {"type": "Allocate", "orderid": "o1", "sku": "LAMP", "qty": 3, "id": "c1"}
"""

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str | None, typer.Option("--id", help="The command's id; sent again with the same, it is handled once.")]
Sku = Annotated[str, typer.Option(help="The product.")]


@app.callback(invoke_without_command=True, epilog=EXAMPLES)
def lines(
    context: typer.Context,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="JSON lines; - for standard input."),
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Go on behind a line that no message can be made of.")
    ] = False,
) -> None:
    """Send commands to Kafka, just as they are given.

    Whether a command is valid is for the service to say; only what its schema cannot hold is refused
    here. A file is sent as it is read: at a bad line, what stands before it is sent and nothing after it.
    """
    if context.invoked_subcommand is not None:
        if file is not None or skip_invalid:
            msg = f"--file and --skip-invalid do not go with {context.invoked_subcommand}"
            raise typer.BadParameter(msg)
    elif file is None:
        msg = "name a command, or a file with --file"
        raise typer.BadParameter(msg)
    else:
        sending.send_file(file, skip_invalid=skip_invalid)


@app.command()
def create_batch(
    *,
    ref: Annotated[str, typer.Option(help="The batch's reference.")],
    sku: Sku,
    qty: Annotated[int, typer.Option(help="Pieces that were bought.")],
    eta: Annotated[
        str | None, typer.Option(metavar="DAY", help="When it arrives; without one it is in the warehouse.")
    ] = None,
    id: Id = None,  # noqa: A002 - the option's name
) -> None:
    """Add a batch of stock."""
    _send("CreateBatch", {"ref": ref, "sku": sku, "qty": qty, "eta": eta}, id)


@app.command()
def allocate(
    *,
    orderid: Annotated[str, typer.Option(help="The order.")],
    sku: Sku,
    qty: Annotated[int, typer.Option(help="Pieces that were ordered.")],
    id: Id = None,  # noqa: A002 - the option's name
) -> None:
    """Find a batch for an order line."""
    _send("Allocate", {"orderid": orderid, "sku": sku, "qty": qty}, id)


@app.command()
def change_batch_quantity(
    *,
    batchref: Annotated[str, typer.Option(help="The batch.")],
    qty: Annotated[int, typer.Option(help="Pieces that it has now.")],
    sku: Annotated[str | None, typer.Option(help="The product, where it is known.")] = None,
    id: Id = None,  # noqa: A002 - the option's name
) -> None:
    """Set the purchased quantity of a batch."""
    _send("ChangeBatchQuantity", {"batchref": batchref, "qty": qty, "sku": sku}, id)


def _send(record_name: str, fields: dict[str, object], commandid: str | None) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.service_layer.operations import producing  # noqa: PLC0415

    given = producing.GivenCommand(record_name, fields, commandid or str(uuid.uuid4()))
    with bootstrap.command_sender(starting.settings()) as sender:
        try:
            at = sender.send(given)
        except producing.Unsendable as error:
            raise typer.BadParameter(str(error)) from error
    typer.echo(f"sent {record_name} {given.id} to {at.topic}, partition {at.partition}, offset {at.offset}")
