"""`allocation schemas`: the Avro contract with everyone else, and whether a change keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import failures, starting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer.operations import schema_contract, schema_differences

EXAMPLES = """
Examples:

    allocation schemas check                  # needs nothing else: for a pipeline
    allocation schemas check --registry       # before a deployment
    allocation schemas diff Allocate --from v1
"""

app = typer.Typer(no_args_is_help=True, help="Check, register and compare the Avro schemas.", epilog=EXAMPLES)

WithRegistry = Annotated[
    bool, typer.Option("--registry", help="Compare with the versions in the schema registry, too; it must answer.")
]


@app.command()
def check(*, with_registry: WithRegistry = False) -> None:
    """See whether each schema and all its released versions read each other's values; no service is needed.

    Exit code 1 when a change breaks somebody: each line names the field, the version and who breaks.
    """
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    contracts = bootstrap.schema_contracts(starting.settings(), with_registry=with_registry)
    _refuse(bootstrap.schema_breaches(contracts))
    for contract in contracts:
        typer.echo(f"{contract.record_name:<21}{_told(contract)}")


@app.command()
def register() -> None:
    """Register the schemas, and have the registry refuse what breaks them from then on; may be repeated.

    Nothing is registered when one of them breaks a released version or one of the registry's. `allocation init`
    registers as well, and notes the ids for the start of this installation.
    """
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations import schema_contract  # noqa: PLC0415 - see above

    settings = starting.settings()
    _refuse(bootstrap.schema_breaches(bootstrap.schema_contracts(settings, with_registry=True)))
    for one in bootstrap.register_schemas(settings, hold=True):
        typer.echo(f"{one.record_name:<21}{one.subject}  id {one.schema_id}  {schema_contract.COMPATIBILITY}")


@app.command()
def diff(
    record: Annotated[str | None, typer.Argument(metavar="RECORD", help="One record, Allocate for instance.")] = None,
    *,
    version: Annotated[
        str | None, typer.Option("--from", metavar="VERSION", help="Compare with this one; else the last released.")
    ] = None,
    with_registry: Annotated[
        bool, typer.Option("--registry", help="Compare with the last version in the schema registry.")
    ] = False,
) -> None:
    """Show field by field in what the schemas differ from an earlier version: - as it was, + as it is."""
    from allocation import bootstrap  # noqa: PLC0415 - see above
    from allocation.service_layer.operations import schema_differences  # noqa: PLC0415 - see above

    contracts = bootstrap.schema_contracts(starting.settings(), with_registry=with_registry)
    for contract in _chosen(contracts, record):
        old = _earlier(contract, version)
        if old is None:
            typer.echo(f"{contract.record_name}: no version to compare with")
            continue
        found = schema_differences.differences(old=old.definition, new=contract.current)
        typer.echo(f"{contract.record_name}, {old.name} → now{'' if found else ': the same'}")
        _show(found)


def _refuse(breaches: Sequence[schema_contract.Breach]) -> None:
    for breach in breaches:
        typer.echo(f"refused: {breach}", err=True)
    if breaches:
        typer.echo('see "How a schema may change" in schemas/README.md', err=True)
        raise typer.Exit(failures.FAILED)


def _told(contract: schema_contract.Contract) -> str:
    if not contract.versions:
        return "not released yet"
    state = "the same" if contract.current == contract.versions[-1].definition else "changed, compatible"
    return f"{', '.join(version.name for version in contract.versions)}: {state}"


def _chosen(contracts: Sequence[schema_contract.Contract], record: str | None) -> Sequence[schema_contract.Contract]:
    chosen = [contract for contract in contracts if record in (None, contract.record_name)]
    if not chosen:
        names = ", ".join(contract.record_name for contract in contracts)
        raise typer.BadParameter(f"{record} is no record; there are {names}", param_hint="RECORD")
    return chosen


def _earlier(contract: schema_contract.Contract, name: str | None) -> schema_contract.Version | None:
    if name is None:
        return contract.versions[-1] if contract.versions else None
    for version in contract.versions:
        if version.name == name:
            return version
    names = ", ".join(version.name for version in contract.versions) or "none"
    raise typer.BadParameter(f"{contract.record_name} has no version {name}; there are {names}", param_hint="--from")


def _show(differences: Sequence[schema_differences.Difference]) -> None:
    for one in differences:
        what = " ".join(part for part in (one.field or "(record)", one.name) if part)
        if one.old is not None:
            typer.echo(f"  - {what}: {one.old}")
        if one.new is not None:
            typer.echo(f"  + {what}: {one.new}")
