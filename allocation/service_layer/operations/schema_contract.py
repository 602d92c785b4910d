"""May a schema change so? The contract of the topics: each version must be read by those who do not have it yet.

Commands and events are kept for ever, and neither we nor others change all at once. So for every topic
both directions are needed, each for reasons of its own, which a refusal tells.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# What a registry calls it when each version must read, and be read by, every other one.
COMPATIBILITY = "FULL_TRANSITIVE"


class Direction(enum.Enum):
    """Who reads what; the value is the registries' word."""

    OLD_DATA = "BACKWARD"
    NEW_DATA = "FORWARD"


_COMMANDS: Mapping[Direction, str] = {
    Direction.OLD_DATA: "the worker, and every replay, would no longer read commands written so",
    Direction.NEW_DATA: "a worker that has only that version would refuse new commands while both versions run",
}
_EVENTS: Mapping[Direction, str] = {
    Direction.OLD_DATA: "the bridge, verify and resend would no longer read events written so",
    Direction.NEW_DATA: "readers that have only that version would no longer read new events",
}


class ContractBroken(Exception):
    """The released versions are not what they must be."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why values written with one schema cannot be read with another; `field` is empty for the record as a whole."""

    field: str
    text: str


class Compatibility(Protocol):
    """Tells what keeps a reader with one definition from reading what was written with another."""

    def __call__(self, *, reader: str, writer: str) -> Sequence[Obstacle]:
        """Return the obstacles, none if it can read; does not block, may be repeated."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a schema, by the name under which people know it."""

    name: str
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The schema of a topic's values as it is now, and the versions that others have."""

    record_name: str
    subject: str
    is_command: bool
    current: str
    versions: tuple[Version, ...]

    def reason(self, direction: Direction) -> str:
        """Return for whose sake a direction is needed."""
        return (_COMMANDS if self.is_command else _EVENTS)[direction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A field that keeps one version from being read with another."""

    record_name: str
    field: str
    version: str
    direction: Direction
    text: str

    def __str__(self) -> str:
        """Name the field, the version and the reason in one line."""
        where = f"{self.record_name}.{self.field}" if self.field else self.record_name
        return f"{where} breaks {self.version} ({self.direction.value}): {self.text}"


def breaches(contracts: Iterable[Contract], *, obstacles: Compatibility) -> Iterator[Breach]:
    """Yield what breaks any version of any contract, in either direction."""
    for contract in contracts:
        for version in contract.versions:
            yield from _breaches(contract, version, obstacles)


def _breaches(contract: Contract, version: Version, obstacles: Compatibility) -> Iterator[Breach]:
    pairs = {
        Direction.OLD_DATA: {"reader": contract.current, "writer": version.definition},
        Direction.NEW_DATA: {"reader": version.definition, "writer": contract.current},
    }
    for direction, pair in pairs.items():
        for obstacle in obstacles(**pair):
            yield Breach(
                record_name=contract.record_name,
                field=obstacle.field,
                version=version.name,
                direction=direction,
                text=f"{obstacle.text}; {contract.reason(direction)}",
            )
