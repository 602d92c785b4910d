"""The composition root: the one place where parts are chosen and joined.

Everything that is opened here is a context manager, closed in reverse by whoever entered it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.postgres import engine as postgres
from allocation.service_layer import topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import config


def topic_names(settings: config.Settings) -> topics.TopicNames:
    """Return the names of all topics of this installation."""
    return topics.TopicNames(settings.topic_prefix)


@contextlib.contextmanager
def database(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    """Open the connections to the database."""
    engine = postgres.create(settings.database_url)
    try:
        yield engine
    finally:
        engine.dispose()
