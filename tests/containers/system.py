"""The running compose stack: where it listens, and its containers by the names in the compose file."""

from __future__ import annotations

import subprocess
import time
import uuid

import httpx2
import stamina

API_URL = "http://localhost:5005"
CONSOLE_URL = "http://localhost:5010"
KAFKA = "localhost:9092"
REDIS_URL = "redis://localhost:6379/0"
REGISTRY_URL = "http://localhost:8081/apis/ccompat/v7"

INFRASTRUCTURE = ("kafka", "postgres", "redis", "registry")
PARTS = ("worker", "relay", "bridge", "maintenance", "console", "api")

# The project's name, as the Makefile gives it.
_PROJECT = "allocation"
# Two Java servers and six Python ones, started at once on a small machine.
_HEALTHY_DEADLINE_S = 90.0
# Longer than the API waits for an outcome.
_CALL_TIMEOUT_S = 30.0
_OUTCOME_DEADLINE_S = 60.0


class NotHealthyError(Exception):
    """A service has not reported that it is healthy."""


def call(method: str, path: str, **body: object) -> httpx2.Response:
    """Call the API; arguments by name are the fields of the body."""
    return httpx2.request(method, f"{API_URL}{path}", json=body or None, timeout=_CALL_TIMEOUT_S)


def post(path: str, **body: object) -> httpx2.Response:
    """Call the API as a patient caller does: with a key, again for as long as the outcome is pending."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    deadline = time.monotonic() + _OUTCOME_DEADLINE_S
    while True:
        answer = httpx2.post(f"{API_URL}{path}", json=body, headers=key, timeout=_CALL_TIMEOUT_S)
        if answer.status_code != httpx2.codes.ACCEPTED or time.monotonic() > deadline:
            return answer


def health(service: str) -> str:
    """Return `healthy`, `starting` or `unhealthy`."""
    return _inspect(service, "{{.State.Health.Status}}")


def user(service: str) -> str:
    """Return the user that the image names; empty for root."""
    return _inspect(service, "{{.Config.User}}")


def verify() -> subprocess.CompletedProcess[str]:
    """Compare commands, database and events with the service's own command, inside the stack."""
    return _allocation("verify")


def status() -> subprocess.CompletedProcess[str]:
    """Ask by the service's own command, inside the stack, how everything is."""
    return _allocation("status", "--json")


def kill(*services: str) -> None:
    """End the services as a crash does."""
    _docker("kill", "--signal", "KILL", *map(_container, services))


def start(*services: str) -> None:
    """Start the services again, in no particular order, and return when all are healthy."""
    _docker("start", *map(_container, services))
    for service in services:
        wait_healthy(service)


@stamina.retry(on=NotHealthyError, attempts=None, timeout=_HEALTHY_DEADLINE_S, wait_initial=0.2, wait_max=1.0)
def wait_healthy(service: str) -> None:
    """Block until the service is healthy; raises NotHealthyError after a while."""
    if (status := health(service)) != "healthy":
        message = f"{service} is {status}; see its log: docker logs {_container(service)}"
        raise NotHealthyError(message)


def _container(service: str) -> str:
    labels = (f"com.docker.compose.project={_PROJECT}", f"com.docker.compose.service={service}")
    filters = (option for label in labels for option in ("--filter", f"label={label}"))
    found = _docker("ps", "--all", "--quiet", *filters).split()
    assert len(found) == 1, f"{len(found)} containers of {service} instead of one: run `make compose-up`"
    return found[0]


def _allocation(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ("docker", "exec", _container("worker"), "allocation", *arguments)
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _inspect(service: str, template: str) -> str:
    return _docker("inspect", "--format", template, _container(service)).strip()


def _docker(*arguments: str) -> str:
    return subprocess.run(("docker", *arguments), check=True, capture_output=True, text=True).stdout
