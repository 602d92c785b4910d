"""Record, once per Java runtime, what makes the Java programs start in half of the time.

Each program is started and stopped for it on data of its own. It is a convenience: where it
fails the programs start without, as slowly as they would have.
"""

from __future__ import annotations

import dataclasses
import tempfile
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

from allocation.devstack import artifacts, cache, errors, java, kafka, ports, registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation.devstack import process

KAFKA = "kafka"
REGISTRY = "registry"

# The program writes the snapshot when it is told to stop: 5 to 7 s on two cores.
_RECORDING_TIMEOUT_S = 120.0


def find(name: str) -> java.Snapshot:
    """Return the program's snapshot, whether it has been recorded or not."""
    return java.Snapshot(artifacts.expected().directory / f"{name}-java-{java.version()}.aot")


def record_missing(on_progress: Callable[[str], None]) -> None:
    """Record the snapshots that are not there; two processes may call this at once."""
    if _are_recorded():
        return
    with cache.locked(cache.directory() / "java.lock"):
        if not _are_recorded():
            on_progress("Recording how the Java programs start, for quicker starts (this once) …")
            _record_all(on_progress)


def _are_recorded() -> bool:
    return all(find(name).path.exists() for name in (KAFKA, REGISTRY))


def _record_all(on_progress: Callable[[str], None]) -> None:
    broker_port, controller_port, registry_port = ports.pick(3)
    with (
        tempfile.TemporaryDirectory(prefix="allocation-snapshots-") as scratch,
        futures.ThreadPoolExecutor() as pool,
    ):
        broker = kafka.Kafka(
            directory=Path(scratch, KAFKA),
            port=broker_port,
            controller_port=controller_port,
            snapshot=_recording(KAFKA),
        )
        schemas = registry.Registry(
            directory=Path(scratch, REGISTRY), port=registry_port, snapshot=_recording(REGISTRY)
        )
        jobs = {KAFKA: pool.submit(_record, broker), REGISTRY: pool.submit(_record, schemas)}
        for name, job in jobs.items():
            _keep(name, job, on_progress)


def _recording(name: str) -> java.Snapshot:
    path = find(name).path
    return dataclasses.replace(find(name), path=path.with_suffix(".new"), is_recording=True)


def _record(service: process.Service) -> None:
    service.start()
    try:
        service.wait_ready()
    finally:
        service.stop(_RECORDING_TIMEOUT_S)


def _keep(name: str, job: futures.Future[None], on_progress: Callable[[str], None]) -> None:
    """Give the snapshot its name, or leave an empty one: it failed, and is not tried again."""
    recorded = _recording(name).path
    try:
        job.result()
    except errors.DevstackError as error:
        on_progress(f"  without one for {name}: {error}")
    if not recorded.exists():
        recorded.touch()
    recorded.rename(find(name).path)
