"""Move an installation to another Kafka cluster: copy its topics, and bind its database to the copies."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

from allocation.adapters.kafka import clients as kafka
from allocation.adapters.kafka import errors, log_copy, topic_specs, topics
from allocation.adapters.postgres import rebinding, schema
from allocation.bootstrap import connections
from allocation.service_layer.operations import moving
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation import config
    from allocation.service_layer.operations import audit
    from allocation.service_layer.operations.verify import ports as verify


def move(
    settings: config.Settings,
    source: kafka.ClientConfig,
    note: audit.Note,
    *,
    dry_run: bool,
    on_progress: verify.Progress,
) -> int:
    """Copy all topics from the source to the cluster of the settings, and bind the database to it.

    Returns how many records there are; `init` must follow. Raises `CannotReplay` while something stands against it.
    """
    target = connections.kafka_clients(settings)
    old, new = topics.TopicAdmin(source), topics.TopicAdmin(target)
    with connections.database(settings) as engine:
        schema.check_binding(engine, cluster_id=old.cluster_id(), topic_prefix=settings.topic_prefix)
        if old.cluster_id() == new.cluster_id():
            raise ports.CannotReplay(f"both addresses are of cluster {new.cluster_id()}; there is nothing to move")
        rebinding.check_movable(engine)
        names = connections.topic_names(settings)
        copied = (*names.commands.values(), *names.events.values(), names.dead_letter, names.journal)
        found = _existing(old, copied, source.bootstrap_servers)
        _check_empty(new, copied)
        partitions = old.partitions(copied)
        if dry_run:
            return sum(marks.end - marks.begin for marks in old.watermarks(partitions).values())
        specs = topic_specs.topic_specs(names, partitions=settings.partitions, replicas=settings.replication_factor)
        new.create(
            dataclasses.replace(one, partitions=found[one.name].partitions) for one in specs if one.name in found
        )
        topic_ids = {found[name].topic_id: one.topic_id for name, one in new.describe(copied).items()}
        copy = log_copy.LogCopy(source, target, transactional_id=f"{settings.topic_prefix}allocation-move")
        changes = dict.fromkeys(names.commands.values(), moving.command)
        changes[names.dead_letter] = functools.partial(moving.dead_letter, topic_ids=topic_ids)
        count = 0
        for done, at in enumerate(partitions):
            on_progress(str(at), done, len(partitions))
            count += copy.copy(at, change=changes.get(at.topic, lambda record: record))
        rebinding.rebind(engine, cluster_id=new.cluster_id(), topic_ids=topic_ids, note=note)
    return count


def _existing(admin: topics.TopicAdmin, names: Sequence[str], servers: str) -> Mapping[str, topics.TopicDescription]:
    found = admin.describe(names)
    missing = [name for name in names if name not in found]
    if missing:
        raise errors.KafkaRefused(f"there is no {', '.join(missing)} at {servers}, where all topics must be")
    return found


def _check_empty(admin: topics.TopicAdmin, names: Sequence[str]) -> None:
    filled = sorted({at.topic for at, end in admin.high_watermarks(admin.partitions(names)).items() if end})
    if filled:
        raise ports.CannotReplay(
            f"the new cluster has records in {', '.join(filled)} already; a copy must be whole: delete these topics "
            "there (not on the old cluster), and begin again"
        )
