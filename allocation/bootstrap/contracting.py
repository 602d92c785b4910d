"""Compose what holds the schemas to their contract: the released versions, the registry, Avro's own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from allocation.adapters.avro import compatibility
from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.service_layer.operations import schema_contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from allocation import config

from allocation.bootstrap import connections


class RegisteredSchema(NamedTuple):
    """A schema of ours with the id that the registry gave it."""

    record_name: str
    subject: str
    schema_id: int
    definition: str


def schema_contracts(settings: config.Settings, *, with_registry: bool) -> tuple[schema_contract.Contract, ...]:
    """Return our schemas, each with its released versions and, if asked for, with those of the registry.

    Without the registry nothing outside is needed. Raises `DependencyDown`, `ContractBroken`.
    """
    if not with_registry:
        return tuple(_contracts(settings, lambda _subject: {}))
    with _registry(settings) as registry:
        return tuple(_contracts(settings, registry.versions))


def schema_breaches(contracts: Iterable[schema_contract.Contract]) -> tuple[schema_contract.Breach, ...]:
    """Return what breaks the contracts."""
    return tuple(schema_contract.breaches(contracts, obstacles=compatibility.obstacles))


def register_schemas(settings: config.Settings, *, hold: bool) -> tuple[RegisteredSchema, ...]:
    """Register what is not registered yet; `hold` has the registry refuse what breaks the contract from then on.

    Raises `DependencyDown`, and `SchemaRejected` where the registry refuses one.
    """
    with _registry(settings) as registry:
        return tuple(_register(registry, contract, hold=hold) for contract in _contracts(settings, lambda _subject: {}))


def _register(registry: avro_registry.Registry, contract: schema_contract.Contract, *, hold: bool) -> RegisteredSchema:
    schema_id = registry.register(subject=contract.subject, definition=contract.current)
    if hold:  # afterwards, since some registries know no settings of a subject that is not there yet
        registry.demand(subject=contract.subject, compatibility=schema_contract.COMPATIBILITY)
    return RegisteredSchema(contract.record_name, contract.subject, schema_id, contract.current)


def _contracts(
    settings: config.Settings, registered: Callable[[str], Mapping[int, str]]
) -> Iterator[schema_contract.Contract]:
    names, definitions, released = connections.topic_names(settings), avro_schemas.load(), avro_schemas.released()
    for record_name, topic in (*names.commands.items(), *names.events.items()):
        subject = avro_schemas.subject(topic)
        versions = (
            *released[record_name].items(),
            *((f"version {number} of {subject}", text) for number, text in registered(subject).items()),
        )
        yield schema_contract.Contract(
            record_name=record_name,
            subject=subject,
            is_command=record_name in names.commands,
            current=definitions[record_name],
            versions=tuple(schema_contract.Version(name, text) for name, text in versions),
        )


def _registry(settings: config.Settings) -> avro_registry.Registry:
    return avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config)
