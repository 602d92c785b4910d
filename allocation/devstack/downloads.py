"""Fetch the files of the lock from the Maven repository that jgo knows, and check their hashes.

A file that the user's own Maven repository already holds is taken from there. What an interrupted
run has fetched stays in the `.partial` directory and is used by the next one, after a check.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import threading
from concurrent import futures
from typing import TYPE_CHECKING

import jgo.config
import jgo.maven

from allocation.devstack import artifacts, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Many small files: the wait is for answers, not for bandwidth.
_PARALLEL_DOWNLOADS = 8
# Between two pieces of a file, not for the whole of it.
_READ_TIMEOUT_S = 60
_PROGRESS_STEP_BYTES = 20_000_000


def fetch(lock: artifacts.Lock, target: artifacts.Installation, on_progress: Callable[[str], None]) -> None:
    """Make the installation's directory with everything in it, or raise DevstackError."""
    partial = artifacts.Installation(target.directory.with_suffix(".partial"))
    partial.kafka_directory.mkdir(parents=True, exist_ok=True)
    archive = partial.directory / "registry.tar.gz"
    on_progress(
        f"Fetching Kafka and the schema registry into {target.directory} "
        f"({len(lock.kafka) + 1} files, about 200 MB, this once) …"
    )
    wanted = {
        lock.registry: archive,
        **{jar: partial.kafka_directory / _file_name(jar) for jar in lock.kafka},
    }
    _fetch_all(wanted, scratch=partial.directory / "downloads", on_progress=on_progress)
    on_progress("Unpacking the schema registry …")
    _unpack(archive, partial.registry_directory)
    archive.unlink()
    shutil.rmtree(partial.directory / "downloads", ignore_errors=True)
    partial.directory.rename(target.directory)


def sha256(path: Path) -> str:
    """Return the hash of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(coordinate: str, context: jgo.maven.MavenContext) -> jgo.maven.Artifact:
    """Return jgo's handle of a file, which fetches it when it is resolved."""
    group, name, version, *classifier_and_type = coordinate.split(":")
    return context.project(group, name).at_version(version).artifact(*classifier_and_type)


def _file_name(artifact: artifacts.Artifact) -> str:
    return locate(artifact.coordinate, jgo.maven.MavenContext()).filename


def _fetch_all(wanted: dict[artifacts.Artifact, Path], *, scratch: Path, on_progress: Callable[[str], None]) -> None:
    meter = _Meter(on_progress)
    context = _context(scratch, meter)
    with futures.ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        running = [pool.submit(_fetch_one, artifact, path, context) for artifact, path in wanted.items()]
        try:
            for future in futures.as_completed(running):
                future.result()
        except BaseException:
            meter.is_cancelled = True
            pool.shutdown(cancel_futures=True)
            raise


class _Meter:
    """Counts what arrives, for all files together; and, since it sees each piece, ends downloads."""

    def __init__(self, on_progress: Callable[[str], None]) -> None:
        self.is_cancelled = False
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._received_bytes = 0

    @contextlib.contextmanager
    def __call__(self, _file_name: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        yield self._add

    def _add(self, size_bytes: int) -> None:
        if self.is_cancelled:
            raise errors.DevstackError("The download was cancelled.")
        with self._lock:
            steps = self._received_bytes // _PROGRESS_STEP_BYTES
            self._received_bytes += size_bytes
            if self._received_bytes // _PROGRESS_STEP_BYTES > steps:
                self._on_progress(f"  {self._received_bytes // 1_000_000} MB")


def _context(scratch: Path, meter: _Meter) -> jgo.maven.MavenContext:
    """Ask the repositories that jgo's own configuration names, a mirror for instance."""
    resolver = jgo.maven.PythonResolver(progress_callback=meter)
    context = jgo.maven.MavenContext(resolver, repo_cache=scratch, timeout=_READ_TIMEOUT_S)
    context.remote_repos.update(jgo.config.GlobalSettings.load().repositories)
    return context


def _fetch_one(artifact: artifacts.Artifact, path: Path, context: jgo.maven.MavenContext) -> None:
    if path.exists() and sha256(path) == artifact.sha256:
        return
    path.unlink(missing_ok=True)
    if not _take_from_users_repository(artifact, path):
        _download(artifact, path, context)


def _take_from_users_repository(artifact: artifacts.Artifact, path: Path) -> bool:
    source = locate(artifact.coordinate, jgo.maven.MavenContext()).cached_path
    if source is None or not source.exists() or sha256(source) != artifact.sha256:
        return False
    try:
        os.link(source, path)
    except OSError:
        # Another file system.
        shutil.copyfile(source, path)
    return True


def _download(artifact: artifacts.Artifact, path: Path, context: jgo.maven.MavenContext) -> None:
    handle = locate(artifact.coordinate, context)
    if handle.cached_path is not None:
        # The rest of an interrupted run, which jgo would take for the whole.
        handle.cached_path.unlink(missing_ok=True)
    try:
        fetched = handle.resolve()
    except (OSError, RuntimeError) as error:
        message = (
            f"{artifact.coordinate} could not be fetched from {_names(context)}: {error} "
            f"Check the connection (or the repositories in jgo's configuration) and try again; "
            f"what has arrived is kept."
        )
        raise errors.DevstackError(message) from error
    found = sha256(fetched)
    if found != artifact.sha256:
        fetched.unlink()
        message = (
            f"{artifact.coordinate} was fetched from {_names(context)}, but its SHA-256 is {found}, "
            f"not {artifact.sha256} as {artifacts.LOCK_FILE.name} says. It was thrown away."
        )
        raise errors.DevstackError(message)
    fetched.replace(path)


def _names(context: jgo.maven.MavenContext) -> str:
    return ", ".join(context.remote_repos.values())


def _unpack(archive: Path, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    with tarfile.open(archive) as tar:
        # The first releases of Python 3.11 have no filters; the hash vouches for the content.
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(directory)  # noqa: S202 the archive is the one that the lock names
