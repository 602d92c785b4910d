"""The Java programs of the stack: fetched once from the Maven repository, checked by hash, kept.

`artifacts.lock.toml` names every file with its SHA-256; nothing else is ever run. The directory
of a lock appears under its final name only when it is complete, so its presence is the proof.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from allocation.devstack import cache

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK_FILE = Path(__file__).with_name("artifacts.lock.toml")

# Of 64 hexadecimal digits: enough to tell one version of the lock from another.
_DIGEST_LENGTH = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a Maven repository and the hash that it must have."""

    coordinate: str
    """`group:artifact:version`, or `group:artifact:version:classifier:type`."""
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class Lock:
    """The files that the stack consists of."""

    kafka_roots: tuple[str, ...]
    """The coordinates from which the rest of Kafka's files follow."""
    kafka: tuple[Artifact, ...]
    registry: Artifact


@dataclasses.dataclass(frozen=True, slots=True)
class Installation:
    """Where the fetched programs are."""

    directory: Path

    @property
    def kafka_directory(self) -> Path:
        """The folder of Kafka's jars."""
        return self.directory / "kafka"

    @property
    def registry_directory(self) -> Path:
        """The folder of the unpacked registry."""
        return self.directory / "registry"

    @property
    def kafka_jars(self) -> tuple[Path, ...]:
        """Kafka's class path."""
        return tuple(sorted(self.kafka_directory.glob("*.jar")))

    @property
    def registry_jar(self) -> Path:
        """The jar that starts the registry."""
        return next(self.registry_directory.glob("*-runner.jar"))


def read_lock() -> Lock:
    """Read the committed list of files."""
    document = tomllib.loads(LOCK_FILE.read_text())
    kafka, registry = (
        tuple(Artifact(*item) for item in document[section]["sha256"].items()) for section in ("kafka", "registry")
    )
    return Lock(kafka_roots=tuple(document["kafka"]["roots"]), kafka=kafka, registry=registry[0])


def expected() -> Installation:
    """Return where the programs of this lock are, or will be."""
    digest = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:_DIGEST_LENGTH]
    return Installation(cache.directory() / f"java-{digest}")


def install(on_progress: Callable[[str], None] = lambda _: None) -> Installation:
    """Return the programs, fetching what is missing; the first time this takes a minute.

    Two processes may call this at once: one fetches, the other waits for it.
    Raises DevstackError when a file cannot be fetched or has another hash than the lock says.
    """
    installation = expected()
    if installation.directory.exists():
        return installation
    with cache.locked(cache.directory() / "java.lock"):
        if not installation.directory.exists():
            # Imported only when needed: jgo brings requests along, 0.2 s on each start.
            from allocation.devstack import downloads  # noqa: PLC0415

            downloads.fetch(read_lock(), installation, on_progress)
    return installation
