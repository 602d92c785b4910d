"""Fetching the stack's Java programs, from a Maven repository that is a directory behind HTTP."""

from __future__ import annotations

import functools
import gc
import hashlib
import http.server
import io
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from allocation import devstack
from allocation.devstack import artifacts, downloads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JAR = "org.example:broker:1.0"
JAR_PATH = "org/example/broker/1.0/broker-1.0.jar"
ARCHIVE = "org.example:registry:2.0:all:tar.gz"
ARCHIVE_PATH = "org/example/registry/2.0/registry-2.0-all.tar.gz"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Files put there can be fetched; the user's own repository is an empty one."""
    directory = tmp_path / "repository"
    directory.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        configuration = tmp_path / "jgo.conf"
        configuration.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))
        monkeypatch.setenv("M2_REPO", str(tmp_path / "users-own"))
        yield directory
        server.shutdown()
        thread.join()


@pytest.fixture
def lock(repository: Path) -> artifacts.Lock:
    """A lock whose files are all there."""
    publish(repository, JAR_PATH, b"a jar")
    publish(repository, ARCHIVE_PATH, an_archive(b"another jar"))
    return artifacts.Lock(
        kafka_roots=(),
        kafka=(artifacts.Artifact(JAR, sha256(b"a jar")),),
        registry=artifacts.Artifact(ARCHIVE, sha256((repository / ARCHIVE_PATH).read_bytes())),
    )


@pytest.fixture
def target(tmp_path: Path) -> artifacts.Installation:
    return artifacts.Installation(tmp_path / "cache" / "java-0123")


def test_every_file_is_fetched_and_the_registry_unpacked(lock: artifacts.Lock, target: artifacts.Installation) -> None:
    told: list[str] = []
    downloads.fetch(lock, target, told.append)
    assert [jar.read_bytes() for jar in target.kafka_jars] == [b"a jar"]
    assert target.registry_jar.read_bytes() == b"another jar"
    assert {path.name for path in target.directory.iterdir()} == {"kafka", "registry"}
    assert "2 files" in told[0]


def test_a_file_with_another_hash_is_thrown_away_and_nothing_is_installed(
    repository: Path, lock: artifacts.Lock, target: artifacts.Installation
) -> None:
    publish(repository, JAR_PATH, b"an evil jar")
    with pytest.raises(devstack.DevstackError) as raised:
        downloads.fetch(lock, target, ignore)
    assert f"{JAR} was fetched from http://127.0.0.1:" in str(raised.value)
    assert f"its SHA-256 is {sha256(b'an evil jar')}, not {sha256(b'a jar')}" in str(raised.value)
    assert not target.directory.exists()
    assert not list(target.directory.parent.rglob("*.jar"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_not_there_is_named_with_what_to_do(
    repository: Path, lock: artifacts.Lock, target: artifacts.Installation
) -> None:
    (repository / JAR_PATH).unlink()
    with pytest.raises(devstack.DevstackError, match=rf"{JAR} could not be fetched from http.* try again") as raised:
        downloads.fetch(lock, target, ignore)
    # jgo leaves the refused response open: here, and not in some later test, it is found.
    del raised
    gc.collect()


def test_the_next_attempt_goes_on_where_an_interrupted_one_stopped(
    repository: Path, lock: artifacts.Lock, target: artifacts.Installation
) -> None:
    partial = target.directory.with_suffix(".partial")
    # One file complete, and of the other only a piece, where the interrupted attempt put it.
    publish(partial, "kafka/broker-1.0.jar", b"a jar")
    publish(partial, f"downloads/{ARCHIVE_PATH}", b"half of it")
    (repository / JAR_PATH).unlink()
    downloads.fetch(lock, target, ignore)
    assert [jar.read_bytes() for jar in target.kafka_jars] == [b"a jar"]
    assert target.registry_jar.read_bytes() == b"another jar"


def test_what_the_users_own_repository_holds_is_not_fetched_again(
    repository: Path, lock: artifacts.Lock, target: artifacts.Installation, tmp_path: Path
) -> None:
    publish(tmp_path / "users-own", JAR_PATH, b"a jar")
    (repository / JAR_PATH).unlink()
    downloads.fetch(lock, target, ignore)
    assert [jar.read_bytes() for jar in target.kafka_jars] == [b"a jar"]


def test_a_damaged_file_in_the_users_own_repository_is_passed_over(
    lock: artifacts.Lock, target: artifacts.Installation, tmp_path: Path
) -> None:
    publish(tmp_path / "users-own", JAR_PATH, b"half a j")
    downloads.fetch(lock, target, ignore)
    assert [jar.read_bytes() for jar in target.kafka_jars] == [b"a jar"]
    assert (tmp_path / "users-own" / JAR_PATH).read_bytes() == b"half a j"


def test_the_committed_lock_pins_every_file_of_the_stack() -> None:
    lock = artifacts.read_lock()
    everything = (*lock.kafka, lock.registry)
    assert set(lock.kafka_roots) <= {artifact.coordinate for artifact in lock.kafka}
    assert all(len(bytes.fromhex(artifact.sha256)) == 32 for artifact in everything)


def publish(directory: Path, path: str, content: bytes) -> None:
    file = directory / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def an_archive(jar: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("registry-2.0-runner.jar")
        member.size = len(jar)
        archive.addfile(member, io.BytesIO(jar))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def ignore(_text: str) -> None:
    pass
