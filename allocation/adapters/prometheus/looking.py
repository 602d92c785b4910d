"""What is looked up when metrics are asked for: how far, how much, how old; a service that is away leaves gaps.

Every part exports these, so that they are there when another part is not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import registry

from allocation.adapters.prometheus import metrics
from allocation.service_layer.operations import status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client import core


class Found(NamedTuple):
    """What was looked up: by check whether all is well, and what database and Kafka have, None without an answer."""

    ready: Mapping[str, bool]
    database: status.DatabaseFigures | None
    partitions: Sequence[status.Partition] | None


class Figures(registry.Collector):
    """Looks at each scrape.

    `handled_at` tells when the last command was created that this process handled of each log, `committed` the
    group's offset there.
    """

    def __init__(
        self,
        *,
        look: Callable[[], Found],
        handled_at: Callable[[], Mapping[tuple[str, int], float]] = dict,
        committed: Callable[[], Mapping[tuple[str, int], int]] = dict,
    ) -> None:
        self._look = look
        self._handled_at = handled_at
        self._committed = committed

    def describe(self) -> Iterator[core.GaugeMetricFamily]:
        """Tell nothing, so that registering asks nobody."""
        yield from ()

    def collect(self) -> Iterator[core.GaugeMetricFamily]:
        """Yield what can be known now."""
        checks, database, partitions = self._look()
        ready = metrics.READY.family()
        for check, is_well in checks.items():
            ready.add_metric([check], is_well)
        yield ready
        if database is not None:
            yield from _waiting(database)
        if database is not None and partitions is not None:
            yield from self._lags(status.lags(partitions, database.next_offsets))

    def _lags(self, lags: Sequence[status.Lag]) -> Iterator[core.GaugeMetricFamily]:
        families = metrics.LAG.family(), metrics.LAG_SECONDS.family(), metrics.UNCOMMITTED.family()
        offsets, seconds, uncommitted = families
        handled_at, committed, now = self._handled_at(), self._committed(), time.time()
        for lag in lags:
            labels = [lag.topic, str(lag.partition)]
            offsets.add_metric(labels, lag.lag)
            at = handled_at.get((lag.topic, lag.partition))
            if at is not None:
                seconds.add_metric(labels, max(now - at, 0.0) if lag.lag else 0.0)
            at_group = committed.get((lag.topic, lag.partition))
            if at_group is not None:
                uncommitted.add_metric(labels, lag.position - at_group)
        yield from families


def _waiting(database: status.DatabaseFigures) -> Iterator[core.GaugeMetricFamily]:
    for description, value in (
        (metrics.OUTBOX_ROWS, database.outbox.rows),
        (metrics.OUTBOX_AGE, database.outbox.oldest_age_s or 0.0),
        (metrics.QUARANTINED, database.quarantined.rows),
        (metrics.MAINTAINED, database.maintained_at.timestamp() if database.maintained_at else 0.0),
        (metrics.OLDEST_TRANSACTION, database.oldest_transaction_s),
    ):
        family = description.family()
        family.add_metric([], value)
        yield family
    parked, ages = metrics.PARKED.family(), metrics.PARKED_AGE.family()
    for state, backlog in database.parked.items():
        parked.add_metric([state], backlog.rows)
        ages.add_metric([state], backlog.oldest_age_s or 0.0)
    yield from (parked, ages)
