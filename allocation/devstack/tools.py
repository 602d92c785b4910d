"""Kafka's own command line tools, with the class path and the Java runtime of the stack."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from allocation import children
from allocation.devstack import errors, kafka, profiles, snapshots

# The scripts of Kafka's distribution are one line each: a class to run.
_CLASSES = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
}


def kafka_tool(
    name: str, *arguments: str, stdin: str = "", timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run one of Kafka's tools, by its script's name or its class, and return what it printed.

    The caller passes `--bootstrap-server` and judges the exit code. Raises DevstackError for an
    unknown name, and subprocess.TimeoutExpired after `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix="allocation-kafka-tool-") as directory:
        command = kafka.command(
            *(_class_of(name), *arguments),
            temporary_directory=Path(directory),
            flags=profiles.Profile.SMALL.broker_flags(),
            snapshot=snapshots.find(snapshots.KAFKA),
        )
        process = children.spawn(
            command,
            environment=kafka.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            stdout, stderr = process.communicate(stdin.encode(), timeout=timeout_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(command, process.returncode, stdout.decode(), stderr.decode())


def _class_of(name: str) -> str:
    if "." in name:
        return name
    try:
        return _CLASSES[name.removesuffix(".sh")]
    except KeyError:
        known = ", ".join(_CLASSES)
        message = f"{name} is no tool of Kafka that is known here. Known: {known}; or give a class."
        raise errors.DevstackError(message) from None
