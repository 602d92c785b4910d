"""The schema registry through Confluent's own client, with errors that the service layer knows.

Works with every registry that has the Confluent API (Confluent, Apicurio, Karapace). Only the
registry's own word that it has no such schema counts as that: a wrong URL answers 404 as well.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from confluent_kafka import schema_registry
from confluent_kafka.schema_registry import error as registry_errors

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

_Found = TypeVar("_Found")

# Error codes of the Confluent API.
_NO_SUBJECT, _NO_SCHEMA = 40401, 40403
_REJECTIONS = frozenset({409, 422})  # incompatible, invalid

# What the client raises on answers that are not a registry's.
_NO_REGISTRY = (ValueError, TypeError, AttributeError)

# A healthy registry answers in milliseconds; whoever calls us pauses and asks again by itself.
_DEFAULTS: dict[str, float] = {
    "timeout": 3.0,
    "max.retries": 1,  # for the connection that the registry closed between two calls
    "retries.wait.ms": 100,
    "retries.max.wait.ms": 100,
}


class BadSetting(ValueError):
    """A registry setting of the user's that the client does not take."""


class SchemaRejected(Exception):
    """The registry refuses a schema: it is incompatible with the subject's earlier ones, or invalid."""


class SchemaNotRegistered(Exception):
    """A subject does not have the schema; `allocation init` registers it."""


class Registry:
    """A client of one registry; blocks for at most a few seconds a call, threads may share it.

    `config` takes further settings of Confluent's client by their names, `basic.auth.user.info` for
    instance; raises `BadSetting` for what it does not take. Each method may be repeated, and raises
    `DependencyDown` where the registry does not answer.
    """

    def __init__(self, url: str, config: Mapping[str, str] | None = None) -> None:
        self._name = without_credentials(url)
        settings: dict[str, object] = {"url": url, **_DEFAULTS}
        for name, value in (config or {}).items():
            settings[name] = _number(name, value) if name in _DEFAULTS else value
        try:
            self._client = schema_registry.SchemaRegistryClient(settings)
        except (TypeError, ValueError) as error:
            msg = (
                f"the schema registry's client does not take its settings (ALLOCATION_SCHEMA_REGISTRY_CONFIG): {error}"
            )
            raise BadSetting(msg) from error

    def register(self, *, subject: str, definition: str) -> int:
        """Return the schema's id, registering it under the subject where it is not there yet.

        Raises `SchemaRejected` where the registry does not take it.
        """
        try:
            return self.id_of(subject=subject, definition=definition)
        except SchemaNotRegistered:
            with self._translated(f"register a schema of {subject}"):
                return _found(int, self._client.register_schema(subject, _schema(definition)))

    def id_of(self, *, subject: str, definition: str) -> int:
        """Return the id that a schema has; raises `SchemaNotRegistered` where the subject does not have it."""
        try:
            with self._translated(f"look up the schema of {subject}"):
                return _found(int, self._client.lookup_schema(subject, _schema(definition)).schema_id)
        except KeyError as error:
            msg = f"the registry at {self._name} does not have our schema of {subject}; run `allocation init`"
            raise SchemaNotRegistered(msg) from error

    def definition(self, schema_id: int) -> str:
        """Return the definition of the schema with this id; raises `KeyError` where there is none."""
        with self._translated(f"look up schema {schema_id}"):
            return _found(str, self._client.get_schema(schema_id).schema_str)

    def versions(self, subject: str) -> dict[int, str]:
        """Return the definitions that a subject has, by version; none where there is no such subject."""
        try:
            with self._translated(f"list the versions of {subject}"):
                return {
                    version: _found(str, _found(schema_registry.Schema, found.schema).schema_str)
                    for version in self._client.get_versions(subject)
                    if (found := self._client.get_version(subject, version))
                }
        except KeyError:
            return {}

    def demand(self, *, subject: str, compatibility: str) -> None:
        """Have the registry refuse versions of a subject that are not compatible, `FULL_TRANSITIVE` for instance."""
        with self._translated(f"set the compatibility of {subject}"):
            self._client.set_compatibility(subject, compatibility)

    def check(self, *, subject: str) -> None:
        """Make sure that the registry answers, now and not from memory; raises `SchemaNotRegistered`."""
        try:
            with self._translated(f"look up {subject}"):
                _found(list, self._client.get_versions(subject))
        except KeyError as error:
            msg = f"the registry at {self._name} does not know {subject}; run `allocation init`"
            raise SchemaNotRegistered(msg) from error

    def close(self) -> None:
        """Close the connections; may be repeated."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except registry_errors.SchemaRegistryError as error:
            if error.error_code in {_NO_SUBJECT, _NO_SCHEMA}:
                raise KeyError(error.error_message) from error
            if error.http_status_code in _REJECTIONS:
                msg = f"the registry at {self._name} refuses to {action}: {error}"
                raise SchemaRejected(msg) from error
            raise self._down(action, error) from error
        except (httpx2.HTTPError, registry_errors.OAuthTokenError, *_NO_REGISTRY) as error:
            raise self._down(action, error) from error

    def _down(self, action: str, error: Exception) -> ports.DependencyDown:
        reason = str(error) or type(error).__name__
        remedy = "check that it runs there, or correct ALLOCATION_SCHEMA_REGISTRY_URL"
        return ports.DependencyDown(
            f"cannot {action}: the schema registry at {self._name} answers {reason!r}; {remedy}"
        )


def _found(kind: type[_Found], value: object) -> _Found:
    if not isinstance(value, kind):
        msg = f"an answer with {value!r:.40} where a registry has {kind.__name__}"
        raise TypeError(msg)
    return value


def _schema(definition: str) -> schema_registry.Schema:
    return schema_registry.Schema(definition, "AVRO")


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        msg = f"the schema registry setting {name} is {value!r}; it must be a number"
        raise BadSetting(msg) from error


def without_credentials(url: str) -> str:
    """Return a URL that may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
