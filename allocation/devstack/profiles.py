"""How big the services are made: quick to start for tests, or as in production for measurements."""

from __future__ import annotations

import enum

# Kafka's own start script uses these collector settings; its default heap is 1 GiB.
_PRODUCTION_FLAGS = (
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
)

# One collector thread and the quick compiler alone: half the start-up time and memory, and
# a lower ceiling of throughput, which tests never reach.
_SMALL_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Profile(enum.Enum):
    """The size of the services."""

    SMALL = "small"
    PRODUCTION = "production"

    def broker_flags(self) -> tuple[str, ...]:
        """Return the JVM flags of the broker."""
        if self is Profile.SMALL:
            return (*_SMALL_FLAGS, "-Xmx512m")
        return (*_PRODUCTION_FLAGS, "-Xms1g", "-Xmx1g")

    def broker_settings(self) -> dict[str, str]:
        """Return the broker's settings that depend on the size."""
        if self is Profile.SMALL:
            # A broker that was killed may register again only when its session has run out:
            # 9 s by default. Shorter ones would be lost in the pauses of a busy test machine.
            return {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
        return {}

    def database_settings(self) -> dict[str, str]:
        """Return the settings of PostgreSQL that depend on the size."""
        if self is Profile.SMALL:
            return {"shared_buffers": "128MB"}
        # The indexes of a million commands in memory, and no checkpoint while something is measured: after each one,
        # the first change of a page writes all of it.
        return {"shared_buffers": "1GB", "min_wal_size": "2GB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}

    def registry_flags(self) -> tuple[str, ...]:
        """Return the JVM flags of the registry, which is never the bottleneck."""
        return (*_SMALL_FLAGS, "-Xmx256m")
