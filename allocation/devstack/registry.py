"""The schema registry: Apicurio, through its Confluent-compatible interface."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import TYPE_CHECKING

from allocation.devstack import artifacts, java, ports, process, profiles

if TYPE_CHECKING:
    from pathlib import Path

_PATH = "/apis/ccompat/v7"
_PROBE_TIMEOUT_S = 2.0


class Registry(process.Service):
    """An Apicurio registry that keeps schemas and their ids in a file database."""

    title = "The schema registry (Apicurio)"

    def __init__(self, *, directory: Path, port: int, snapshot: java.Snapshot) -> None:
        super().__init__(directory=directory, port=port)
        self._snapshot = snapshot

    @property
    def url(self) -> str:
        """Where Confluent's and all compatible clients connect to."""
        return f"http://{ports.HOST}:{self.port}{_PATH}"

    def _command(self) -> tuple[str, ...]:
        settings = {
            "quarkus.http.host": ports.HOST,
            "quarkus.http.port": str(self.port),
            "quarkus.log.level": "WARN",
        }
        return java.command(
            *(f"-D{name}={value}" for name, value in settings.items()),
            *("-jar", str(artifacts.install().registry_jar)),
            temporary_directory=self.directory / "tmp",
            flags=profiles.Profile.SMALL.registry_flags(),
            snapshot=self._snapshot,
        )

    def _environment(self) -> dict[str, str]:
        # Not a property: Apicurio reads this one from the environment alone.
        url = f"jdbc:h2:file:{self.directory}/registry"
        return {**super()._environment(), "REGISTRY_DATASOURCE_URL": url}

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(ports.HOST, self.port, timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("GET", f"{_PATH}/subjects")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
