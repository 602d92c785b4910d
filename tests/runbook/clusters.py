"""A cluster with users: what an installation moves to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from allocation import devstack
from allocation.devstack import kafka, ports, snapshots

if TYPE_CHECKING:
    from pathlib import Path

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class WithUsers(kafka.Kafka):
    """A broker that asks for user and password on a second port; `administrator` lists the first, without."""

    def __init__(self, directory: Path) -> None:
        port, controller_port, self._asking_port = ports.pick(3)
        super().__init__(
            directory=directory,
            port=port,
            controller_port=controller_port,
            snapshot=snapshots.find(snapshots.KAFKA),
        )

    @property
    def asking(self) -> str:
        """Where users connect to."""
        return f"{ports.HOST}:{self._asking_port}"

    def add_user(self, name: str, password: str) -> None:
        """Let a user in."""
        entity = ("--alter", "--entity-type", "users", "--entity-name", name)
        secret = f"SCRAM-SHA-256=[password={password}]"
        done = devstack.kafka_tool(
            "kafka-configs", "--bootstrap-server", self.bootstrap_servers, *entity, "--add-config", secret
        )
        assert done.returncode == 0, done.stderr

    def _write_configuration(self) -> None:
        super()._write_configuration()
        text = self._configuration.read_text()
        for line in text.splitlines():
            if line.startswith("listeners="):
                text = text.replace(line, line.replace(",CONTROLLER", f",SASL_PLAINTEXT://{self.asking},CONTROLLER"))
        mechanism = "SCRAM-SHA-256"
        self._configuration.write_text(
            f"{text}sasl.enabled.mechanisms={mechanism}\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"listener.name.sasl_plaintext.{mechanism.lower()}.sasl.jaas.config={_SCRAM}\n"
        )


def as_user(name: str, password: str) -> str:
    """Return the settings of a client."""
    return json.dumps(
        {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": name,
            "sasl.password": password,
        }
    )
