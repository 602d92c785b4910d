"""The settings, from `ALLOCATION_…` environment variables and a `.env` file.

Read by the composition root and the entrypoints only; everything below is given plain values.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import pydantic
import pydantic_settings

MAX_PORT = 65535

_PREFIX = "ALLOCATION_"
_TOPIC_PREFIX = r"^[A-Za-z0-9._-]*$"
_HOST_NAMES = r"^[A-Za-z0-9._-]*(\s*,\s*[A-Za-z0-9._-]+)*$"
# What is no setting and has a meaning all the same: the kill tests' (see `kill_points`).
_OF_TESTS = frozenset({"ALLOCATION_KILL_POINT"})
# Values that a message about a setting must not show.
_SECRET = re.compile(r"""((?:password|secret|token|user\.info)["']?\s*:\s*["']?)[^"',}]+""", re.IGNORECASE)


class SettingsError(Exception):
    """A setting that cannot be used; names it, its value (passwords masked) and what is expected."""


class Settings(pydantic_settings.BaseSettings):
    """How one installation is set up."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True, enable_decoding=False
    )

    kafka_bootstrap_servers: str = pydantic.Field("localhost:9092", description="host:port, several with commas")
    kafka_config: dict[str, str | int | float | bool] = pydantic.Field(
        default_factory=dict,
        description='further librdkafka settings as JSON, such as {"security.protocol": "SASL_SSL"}',
    )
    database_url: str = pydantic.Field(
        "postgresql+psycopg2://allocation:allocation@localhost:5432/allocation",
        description="postgresql+psycopg2://…; through a pooler only if that leaves a session to its client",
    )
    redis_url: str = pydantic.Field("redis://localhost:6379/0", description="redis://host:port/db")
    schema_registry_url: str = pydantic.Field("http://localhost:8081", description="base URL of the Confluent API")
    schema_registry_config: dict[str, str] = pydantic.Field(
        default_factory=dict,
        description='further registry settings as JSON, such as {"basic.auth.user.info": "user:password"}',
    )
    topic_prefix: str = pydantic.Field("", pattern=_TOPIC_PREFIX, description="stands before every topic and channel")
    consumer_group: str = pydantic.Field("allocation", min_length=1, description="the worker's consumer group")
    consumer_instance_id: str | None = pydantic.Field(None, description="a stable name for this worker: quick restarts")
    group_protocol: Literal["classic", "consumer"] = pydantic.Field("classic", description="rebalance protocol")
    session_timeout_ms: int = pydantic.Field(
        6000, ge=1000, description="a silent worker loses its partitions after this (classic)"
    )
    partitions: int = pydantic.Field(6, ge=1, le=1000, description="partitions of a topic that `init` creates")
    replication_factor: int = pydantic.Field(1, ge=1, le=10, description="replicas of a topic that `init` creates")
    batch_size: int = pydantic.Field(4000, ge=1, le=100_000, description="commands in one transaction, at most")
    grace_s: float = pydantic.Field(
        60.0, ge=0, description="how long a command waits for its batch before it is refused"
    )
    max_retries: int = pydantic.Field(
        5, ge=0, description="retries of a command that fails unexpectedly before it is parked"
    )
    delivery: Literal["exactly_once", "at_least_once"] = pydantic.Field(
        "exactly_once",
        description="at_least_once: the relay is quicker, and may repeat events after a crash; changed when the outbox is empty",
    )
    relay_lease_s: float = pydantic.Field(
        3.0, ge=0.1, le=60, description="a relay that is silent for so long is replaced by one that stands by"
    )
    outbox_limit: int = pydantic.Field(200_000, ge=1, description="rows in the outbox at which the worker stands still")
    refusal_limit: float = pydantic.Field(
        0.5, gt=0, le=1, description="share of refused messages at which the worker stands still, 1: never"
    )
    inbox_retention_days: float = pydantic.Field(
        7, gt=0, le=36_500, description="how long a sender's duplicate is recognised by its id"
    )
    journal_retention_days: float = pydantic.Field(
        30, gt=0, le=36_500, description="how long the journal's rows stay in the database; its topic keeps all"
    )
    audit_retention_days: float = pydantic.Field(
        730, gt=0, le=36_500, description="how long it is known who changed what, and why"
    )
    parked_retention_days: float = pydantic.Field(
        30, gt=0, le=36_500, description="a command that failed so long ago goes to the dead letters"
    )
    maintenance_interval_s: float = pydantic.Field(
        21_600, ge=1, le=86_400 * 7, description="how often old rows are taken out"
    )
    http_host: str = pydantic.Field(
        "127.0.0.1", min_length=1, description="address that the API and the health ports listen on"
    )
    http_port: int = pydantic.Field(
        5005, ge=0, le=MAX_PORT, description="port that the API listens on, 0 for a free one"
    )
    http_timeout_s: float = pydantic.Field(5.0, gt=0, le=300, description="how long a call waits for its outcome")
    health_port: int = pydantic.Field(
        0,
        ge=0,
        le=MAX_PORT - 3,
        description="port of /healthz, /readyz and /metrics of worker, relay, bridge and maintenance, 0: none; `run` gives them this and the next three",
    )
    console_host: str = pydantic.Field(
        "127.0.0.1",
        min_length=1,
        description="address that the console listens on; beyond this machine, everyone there may look",
    )
    console_allowed_hosts: str = pydantic.Field(
        "",
        pattern=_HOST_NAMES,
        description="names by which the console may be called, several with commas; localhost and IP addresses always are",
    )
    console_port: int = pydantic.Field(
        0, ge=0, le=MAX_PORT, description="port of the console, 0: a free one, and `run` serves none"
    )
    console_token: str | None = pydantic.Field(
        None,
        repr=False,
        description="who gives it in the console may change things, 16 characters at least; none: it only shows",
    )
    console_parts: dict[str, str] = pydantic.Field(
        default_factory=dict,
        description='parts whose `/readyz` console and `top` ask each second, and `status` once, as JSON such as {"worker": "http://localhost:5006"}; `run` names its own',
    )
    outbox_age_limit_s: float = pydantic.Field(
        30.0, gt=0, description="age of a row in the outbox from which on `/readyz` says that no relay sends it"
    )
    smtp_url: str | None = pydantic.Field(None, description="smtp://user:password@host:port; none: no e-mail is sent")
    email_from: str = pydantic.Field("allocations@example.com", description="sender of the e-mail")
    email_to: str = pydantic.Field("stock@example.com", description="who hears that a SKU is out of stock")
    log_format: Literal["auto", "json", "console"] = pydantic.Field(
        "auto", description="auto: console on a terminal, else JSON"
    )
    log_level: Literal["debug", "info", "warning", "error"] = pydantic.Field("info", description="what is logged")

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _decoded(cls, value: object, info: pydantic.ValidationInfo) -> object:
        """Read JSON where several values are expected, and say which variable it is when it is none."""
        if not isinstance(value, str) or cls.model_fields[info.field_name or ""].default_factory is not dict:
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            msg = f"is no JSON: {error}"
            raise ValueError(msg) from error

    @pydantic.field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        if not value.startswith("postgresql+psycopg2://"):
            msg = "must start with postgresql+psycopg2://"
            raise ValueError(msg)
        _check_port(value)
        return value

    @pydantic.field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        return _with_scheme(value, ("redis", "rediss", "unix"))

    @pydantic.field_validator("schema_registry_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        return _with_scheme(value, ("http", "https"))

    @pydantic.field_validator("console_parts")
    @classmethod
    def _are_http(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: _with_scheme(url, ("http", "https")) for name, url in value.items()}

    @pydantic.field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: str | None) -> str | None:
        return value and _with_scheme(value, ("smtp", "smtps"))


def _with_scheme(value: str, schemes: tuple[str, ...]) -> str:
    parts = urlsplit(value)
    if parts.scheme not in schemes or not (parts.netloc or parts.path):
        msg = f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
        raise ValueError(msg)
    _check_port(value)
    return value


def _check_port(url: str) -> None:
    try:
        urlsplit(url).port  # noqa: B018 - checked when it is asked for
    except ValueError as error:
        msg = f"its port must be a number from 0 to {MAX_PORT}"
        raise ValueError(msg) from error


def load(**overrides: Any) -> Settings:
    """Read the settings; raises `SettingsError` with one line for each that cannot be used."""
    try:
        return Settings(**overrides)
    except pydantic.ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:
    name = str(problem["loc"][0])
    field = Settings.model_fields.get(name)
    expected = f" ({field.description})" if field is not None and field.description else ""
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{_PREFIX}{name.upper()}={masked(str(problem['input']))!r}: {message}{expected}"


def unknown_variables() -> tuple[str, ...]:
    """Return the names that look like settings in the environment and in `.env`, and are none."""
    sources = (pydantic_settings.EnvSettingsSource(Settings), pydantic_settings.DotEnvSettingsSource(Settings))
    found = {name.upper() for source in sources for name in source.env_vars if name.upper().startswith(_PREFIX)}
    return tuple(sorted(found - _OF_TESTS - {_PREFIX + name.upper() for name in Settings.model_fields}))


def is_topic_prefix(text: str) -> bool:
    """Tell whether names of topics may begin so."""
    return re.fullmatch(_TOPIC_PREFIX, text) is not None


def masked(text: str) -> str:
    """Hide the password in a URL, and what is secret in JSON."""
    try:
        parts = urlsplit(text)
    except ValueError:  # what is between brackets is no address
        return _SECRET.sub(r"\1***", text)
    if parts.password is None:
        return _SECRET.sub(r"\1***", text)
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
