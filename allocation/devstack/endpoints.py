"""Where the running parts listen, and how a program is told so: by the settings' environment variables."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

from allocation.devstack import errors

ENVIRONMENT_VARIABLES = {
    "kafka_bootstrap_servers": "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS",
    "database_url": "ALLOCATION_DATABASE_URL",
    "redis_url": "ALLOCATION_REDIS_URL",
    "schema_registry_url": "ALLOCATION_SCHEMA_REGISTRY_URL",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of the four services, in the form that the settings take."""

    kafka_bootstrap_servers: str
    database_url: str
    redis_url: str
    schema_registry_url: str

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point the service at this stack."""
        return {variable: getattr(self, field) for field, variable in ENVIRONMENT_VARIABLES.items()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Endpoints:
        """Read the addresses back from environment variables.

        Raises DevstackError naming those that are missing or empty.
        """
        missing = [name for name in ENVIRONMENT_VARIABLES.values() if not environment.get(name)]
        if missing:
            names = ", ".join(missing)
            message = f"Not set: {names}. Set them to the addresses of the running services."
            raise errors.DevstackError(message)
        return cls(**{field: environment[name] for field, name in ENVIRONMENT_VARIABLES.items()})
