"""The table of topics: which there are, how many partitions each has, what is kept and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.adapters.kafka import clients

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer import topics

# The database is a function of the commands and the journal, and `verify` compares it with the
# events. A dead letter stays until someone has looked at it.
_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_COMMAND_SIZE = {"max.message.bytes": str(clients.MAX_COMMAND_BYTES)}
_DEAD_LETTER_SIZE = {"max.message.bytes": str(clients.MAX_DEAD_LETTER_BYTES)}
# Only the last record of a shard counts. The rest goes soon: segments are small and cleaned as soon
# as a tenth of them is out of date (defaults: 1 GiB, half).
_LAST_ONLY = {"cleanup.policy": "compact", "segment.bytes": str(16 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.1"}

# From three replicas on, a write counts when two have it; one broker may then be missing.
_REPLICAS_FOR_QUORUM = 3
_QUORUM = {"min.insync.replicas": "2"}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


def topic_specs(
    names: topics.TopicNames, *, partitions: int, shards: int = 1, replicas: int = 1
) -> tuple[TopicSpec, ...]:
    """Return every topic of an installation; `shards` counts the relay's."""
    durable = _QUORUM if replicas >= _REPLICAS_FOR_QUORUM else {}

    def spec(name: str, count: int, config: Mapping[str, str]) -> TopicSpec:
        return TopicSpec(name, count, replicas, {**config, **durable})

    return (
        *(spec(name, partitions, _FOR_EVER | _COMMAND_SIZE) for name in names.commands.values()),
        *(spec(name, partitions, _FOR_EVER) for name in names.events.values()),
        spec(names.dead_letter, partitions, _FOR_EVER | _DEAD_LETTER_SIZE),
        spec(names.journal, 1, _FOR_EVER),
        spec(names.relay_checkpoint, shards, _LAST_ONLY),
    )


def short_lived(spec: TopicSpec, settings: Mapping[str, str]) -> str | None:
    """Say what removes records of a topic that should keep all, by its settings as they are; None if nothing does."""
    if spec.config.get("cleanup.policy") != _FOR_EVER["cleanup.policy"]:
        return None
    wrong = {name: settings[name] for name, value in _FOR_EVER.items() if settings.get(name, value) != value}
    if not wrong:
        return None
    found, wanted = (
        ",".join(f"{name}={value}" for name, value in pairs.items())
        for pairs in (wrong, {name: _FOR_EVER[name] for name in wrong})
    )
    return (
        f"topic {spec.name} has {found}: it loses records that rebuild, restore and verify need; "
        f"kafka-configs --alter --entity-type topics --entity-name {spec.name} --add-config {wanted}"
    )
