"""Every metric that is exported, described in this one place.

Names follow Prometheus (base units, `_total`) and, where its messaging conventions have a metric or a
label for the same thing, OpenTelemetry. No label holds a sku, an order or an id: each would be a series
for ever. Dashboard, alert rules and docs/operations.md name these and no others; tests compare them.
"""

from __future__ import annotations

from typing import NamedTuple

import prometheus_client
from prometheus_client import core

TOPIC = "messaging_destination_name"
PARTITION = "messaging_destination_partition_id"

# From a batch of one on a quiet machine to the longest that a transaction may take.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# A command may have waited for a worker that was down.
_DELAYS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Description(NamedTuple):
    """What a metric is; `buckets` make it a histogram."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def counter(self, registry: prometheus_client.CollectorRegistry) -> prometheus_client.Counter:
        """Make it, as a counter."""
        return prometheus_client.Counter(self.name, self.meaning, self.labels, registry=registry)

    def gauge(self, registry: prometheus_client.CollectorRegistry) -> prometheus_client.Gauge:
        """Make it, as a gauge."""
        return prometheus_client.Gauge(self.name, self.meaning, self.labels, registry=registry)

    def histogram(self, registry: prometheus_client.CollectorRegistry) -> prometheus_client.Histogram:
        """Make it, as a histogram."""
        return prometheus_client.Histogram(
            self.name, self.meaning, self.labels, buckets=self.buckets, registry=registry
        )

    def family(self) -> core.GaugeMetricFamily:
        """Make what a collector fills at each scrape."""
        return core.GaugeMetricFamily(self.name, self.meaning, labels=self.labels)


# Worker
CONSUMED = Description("messaging_client_consumed_messages_total", "Commands that a worker took in, by topic", (TOPIC,))
OUTCOMES = Description(
    "allocation_commands_total",
    "What became of commands, by topic and in the journal's words; repeated: below the position, skipped",
    (TOPIC, "outcome"),
)
HANDLING = Description(
    "allocation_handling_seconds_total",
    "Time of micro-batches, by topic: handling as measured; reading, statements and commit shared evenly in a batch",
    (TOPIC,),
)
BATCH_SIZE = Description("allocation_batch_commands", "Commands in one micro-batch", buckets=_SIZES)
BATCH_DURATION = Description(
    "allocation_batch_duration_seconds", "How long a micro-batch took, up to its commit", buckets=_SECONDS
)
COMMAND_DELAY = Description(
    "allocation_command_delay_seconds",
    "From a command's record in Kafka to the commit of its effect; the oldest and the youngest of each batch",
    buckets=_DELAYS,
)
EVENTS = Description(
    "allocation_events_total",
    "Events that were committed to the outbox, by type and by the type of the command that caused them",
    ("type", "cause"),
)
RETRIES = Description(
    "allocation_retries_total",
    "Micro-batches and look-ups that were tried again, after a conflict or in an outage",
    ("cause",),
)
REBALANCES = Description("allocation_rebalances_total", "Partitions given to this worker or taken from it, in one go")
PARTITIONS = Description("allocation_partitions", "Partitions of this worker: assigned, held, set_aside", ("state",))

# Relay and bridge
SENT = Description(
    "messaging_client_sent_messages_total",
    "Messages whose Kafka transaction is committed, by topic: events, dead letters, journal; the bridge's commands",
    (TOPIC,),
)
DEAD_LETTERS = Description("allocation_dead_letters_total", "Dead letters that were sent, by reason", ("reason",))
PASS_SIZE = Description("allocation_relay_pass_rows", "Rows of the outbox in one pass of the relay", buckets=_SIZES)
PASS_DURATION = Description(
    "allocation_relay_pass_duration_seconds",
    "How long a pass took: to read, to send in one Kafka transaction, to delete",
    buckets=_SECONDS,
)
END_TO_END = Description(
    "allocation_end_to_end_seconds",
    "From a command's ce_time to the commit of the Kafka transaction with what came of it; the oldest of each "
    "micro-batch, without those that waited for a batch",
    buckets=_DELAYS,
)
PUBLICATION_DELAY = Description(
    "allocation_publication_delay_seconds",
    "From an event's transaction (its ce_time) to the commit of the Kafka transaction; the oldest of each pass",
    buckets=_DELAYS,
)
DELIVERED = Description(
    "allocation_bridge_delivered_events_total", "Events that Redis or the mail server took", ("reader",)
)

# What every part looks up when it is asked
READY = Description("allocation_ready", "1 if this is as it should be, by check of /readyz", ("check",))
LAG = Description(
    "allocation_consumer_lag_messages", "Offsets that are not handled, by the database's position", (TOPIC, PARTITION)
)
LAG_SECONDS = Description(
    "allocation_consumer_lag_seconds",
    "Age of the last command that this worker handled where others wait, 0 where none waits",
    (TOPIC, PARTITION),
)
UNCOMMITTED = Description(
    "allocation_position_ahead_messages",
    "The database's position less the group's offset in Kafka, which is only for tools",
    (TOPIC, PARTITION),
)
OUTBOX_ROWS = Description("allocation_outbox_rows", "Rows that wait for the relay")
OUTBOX_AGE = Description("allocation_outbox_oldest_age_seconds", "Age of the oldest row that waits, 0 without any")
QUARANTINED = Description("allocation_quarantined_rows", "Rows that Kafka refused, and those behind them")
PARKED = Description("allocation_parked_commands", "Parked commands: waiting, queued, poisoned", ("state",))
PARKED_AGE = Description("allocation_parked_oldest_age_seconds", "Age of the oldest of those", ("state",))
MAINTAINED = Description(
    "allocation_maintenance_last_success_timestamp_seconds",
    "When all old rows were last taken out (Unix time), by whichever process; 0 if never",
)
OLDEST_TRANSACTION = Description(
    "allocation_oldest_transaction_seconds",
    "Age of the oldest transaction in the database for which deleted rows are kept, whoever's it is; 0 without any",
)

# API
CALLS = Description(
    "allocation_http_call_seconds",
    "How long calls took, from the first byte of the request to the last of the answer",
    ("method", "route", "status"),
    # From a cached read to the longest wait for an outcome.
    (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
AWAITED = Description("allocation_http_waiting_commands", "Commands whose outcome is waited for")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Description))


def new_registry() -> prometheus_client.CollectorRegistry:
    """Return a registry for one part, with what its process uses; two parts in one process do not collide."""
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    return registry
