"""A whole system of the story's own: fresh data, free ports, a temporary directory; gone at the end.

It is set up by defaults alone: neither the caller's environment nor a `.env` file can make the story
talk to anyone else's services.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from allocation import bootstrap, children, config, devstack
from allocation.adapters.redis import connections
from allocation.devstack import ports
from allocation.entrypoints import logs
from allocation.entrypoints.cli.story import outside, telling

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "ALLOCATION_"
# Four Python processes that start at once on a small machine, the group's first rebalance included.
_READY_DEADLINE_S = 60.0
# The worker may come up after the API, and a busy machine stalls: a call waits for its outcome rather than be told
# that it is pending. Below what the story's own calls may take.
_HTTP_TIMEOUT_S = 15.0
_POLL_INTERVAL_S = 0.1
# `allocation run` stops its parts in 25 s at most.
_STOP_TIMEOUT_S = 30.0
_LOG_TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class System:
    """Everything runs; `settings` is how to get at it."""

    settings: config.Settings
    api: outside.Api


@contextlib.contextmanager
def running(tell: telling.Teller) -> Iterator[System]:
    """Start everything and stop it at the end, whatever happens; the logs are kept if the story fails.

    Raises `StoryFailed` if a part does not come up, or is still there when all should have stopped.
    """
    directory = Path(tempfile.mkdtemp(prefix="allocation-demo-"))
    before = Path.cwd()
    os.chdir(directory)  # away from any `.env`
    try:
        with _everything(tell, directory) as system:
            yield system
    except Exception:
        tell.say(f"The logs are kept in {directory}")
        raise
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    else:
        shutil.rmtree(directory)
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _everything(tell: telling.Teller, directory: Path) -> Iterator[System]:
    tell.chapter("Kafka, PostgreSQL, Redis, schema registry: plain processes, fresh data")
    log = directory / "parts.log"
    with devstack.Stack(directory / "services", on_progress=tell.say) as stack:
        settings = _settings(stack.endpoints)
        # What the parts log goes to a file; what this process would log, the story tells.
        logs.configure(settings.model_copy(update={"log_level": "error"}))
        tell.chapter("allocation init: topics, schemas, tables")
        bootstrap.initialise(settings, on_progress=tell.say)
        tell.chapter("allocation run: worker, relay, bridge, API and maintenance")
        with _parts(settings, log, tell):
            yield System(settings, outside.Api(f"http://{settings.http_host}:{settings.http_port}"))
            tell.say("")
        servers = [service.pid for service in stack.services]
    _check_gone([*servers, *_pids(log)])
    tell.say("Everything is stopped: no process is left, and the data are removed.")


def _settings(endpoints: devstack.Endpoints) -> config.Settings:
    defaults = {
        name: field.get_default(call_default_factory=True) for name, field in config.Settings.model_fields.items()
    }
    (http_port,) = ports.pick(1)
    return config.load(
        **defaults
        | {
            "kafka_bootstrap_servers": endpoints.kafka_bootstrap_servers,
            "database_url": endpoints.database_url,
            "redis_url": endpoints.redis_url,
            "schema_registry_url": endpoints.schema_registry_url,
            "http_port": http_port,
            "http_timeout_s": _HTTP_TIMEOUT_S,
            "log_format": "json",
        }
    )


def _environment(settings: config.Settings) -> dict[str, str]:
    """Return our environment, with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(_PREFIX)}
    values = settings.model_dump(exclude_none=True)
    return inherited | {
        _PREFIX + name.upper(): value if isinstance(value, str) else json.dumps(value) for name, value in values.items()
    }


@contextlib.contextmanager
def _parts(settings: config.Settings, log: Path, tell: telling.Teller) -> Iterator[None]:
    with log.open("wb") as output:
        process = children.spawn(
            (sys.executable, "-P", "-m", "allocation", "run"),
            environment=_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # It has children of its own, which it stops.
            death_signal=signal.SIGTERM,
        )
    try:
        _wait_until_ready(settings, process, log)
        tell.say(f"The API listens on port {settings.http_port}, the bridge to Redis has subscribed.")
        yield
        if process.poll() is not None:
            raise telling.StoryFailed(f"`allocation run` has ended by itself:\n{_tail(log)}")
    finally:
        process.terminate()
        _wait(process)


def _wait_until_ready(settings: config.Settings, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for what can be seen from outside: the API answers, and somebody listens to Redis' channels."""
    api = outside.Api(f"http://{settings.http_host}:{settings.http_port}")
    channel = bootstrap.topic_names(settings).change_batch_quantity
    deadline = time.monotonic() + _READY_DEADLINE_S
    with connections.connect(settings.redis_url) as client:
        while not (api.is_ready() and outside.has_subscribers(client, channel)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise telling.StoryFailed(f"The parts do not come up. They have logged last:\n{_tail(log)}")
            time.sleep(_POLL_INTERVAL_S)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _pids(log: Path) -> list[int]:
    """Return the processes that `allocation run` says it has started."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if '"run.part_started"' in line]
    return [json.loads(line)["pid"] for line in lines]


def _check_gone(pids: list[int]) -> None:
    left = [pid for pid in pids if _exists(pid)]
    if left:
        raise telling.StoryFailed(f"All should have stopped, but these processes are left: {left}")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
