"""Apache Kafka: one node that is broker and controller (KRaft)."""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path

from allocation.devstack import artifacts, java, ports, process, profiles

_LOG_CONFIGURATION = Path(__file__).with_name("log4j2.properties")

# The last line of a broker's start: it is registered, unfenced, and takes requests.
_STARTED = "Kafka Server started"

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # One node holds everything, internal topics too; few partitions of them start sooner.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Topics are made by `allocation init`, with their settings; a typo must not make one.
    "auto.create.topics.enable": "false",
    # A dead letter is larger than the command that it holds; topics set their own limits below.
    "message.max.bytes": str(2 * 1024 * 1024),
    # A group's first member does not wait for more of them.
    "group.initial.rebalance.delay.ms": "0",
    # Both group protocols: clients may ask for sessions so short that a crash is noticed in 2 s.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    # What a producer that died has left open ends within a second of its own timeout.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # The cleaner's default buffer is 128 MiB, a quarter of the small heap.
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
}


class Kafka(process.Service):
    """A broker with its own controller."""

    title = "Kafka"

    def __init__(
        self,
        *,
        directory: Path,
        port: int,
        controller_port: int,
        snapshot: java.Snapshot | None,
        profile: profiles.Profile = profiles.Profile.SMALL,
    ) -> None:
        super().__init__(directory=directory, port=port)
        self._controller_port = controller_port
        self._snapshot = snapshot
        self._profile = profile

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect to."""
        return f"{ports.HOST}:{self.port}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "server.properties"

    def _prepare(self) -> None:
        self._write_configuration()
        if (self.directory / "data" / "meta.properties").exists():
            return
        self._run(
            self._java(
                *("kafka.tools.StorageTool", "format", "--ignore-formatted"),
                *("--cluster-id", _new_cluster_id(), "--config", str(self._configuration)),
                flags=profiles.Profile.SMALL.broker_flags(),
                snapshot=None if self._is_recording else self._snapshot,
            )
        )

    def _write_configuration(self) -> None:
        settings = {
            **SETTINGS,
            "controller.quorum.voters": f"1@{ports.HOST}:{self._controller_port}",
            "listeners": (f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{ports.HOST}:{self._controller_port}"),
            "log.dirs": str(self.directory / "data"),
            **self._profile.broker_settings(),
        }
        lines = (f"{name}={value}\n" for name, value in settings.items())
        self._configuration.write_text("".join(lines))

    def _command(self) -> tuple[str, ...]:
        flags = self._profile.broker_flags()
        return self._java("kafka.Kafka", str(self._configuration), flags=flags, snapshot=self._snapshot)

    @property
    def _is_recording(self) -> bool:
        return self._snapshot is not None and self._snapshot.is_recording

    def _java(self, *arguments: str, flags: tuple[str, ...], snapshot: java.Snapshot | None) -> tuple[str, ...]:
        return command(*arguments, temporary_directory=self.directory / "tmp", flags=flags, snapshot=snapshot)

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), **environment()}

    def _is_ready(self) -> bool:
        return self.is_running and self._printed(_STARTED)


def command(
    *arguments: str, temporary_directory: Path, flags: tuple[str, ...], snapshot: java.Snapshot | None
) -> tuple[str, ...]:
    """Return the command line of one of Kafka's classes; the arguments begin with its name."""
    return java.command(
        f"-Dlog4j2.configurationFile={_LOG_CONFIGURATION}",
        *arguments,
        temporary_directory=temporary_directory,
        flags=flags,
        snapshot=snapshot,
    )


def environment() -> dict[str, str]:
    """Return the variables that such a command needs: the class path, too long for a `ps` to be read."""
    return {"CLASSPATH": os.pathsep.join(str(jar) for jar in artifacts.install().kafka_jars)}


def _new_cluster_id() -> str:
    """Make a random id in Kafka's form: a UUID in URL-safe base64, which must not begin with -."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id
