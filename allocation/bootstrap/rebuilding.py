"""Compose what rebuilds the database from the logs, compares it with the live one, and swaps it in."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.adapters.kafka import journal_log, ordered_logs, prefixed_topics
from allocation.adapters.postgres import comparing as postgres_comparing
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import promoting, rebuilding
from allocation.service_layer import envelopes, reading
from allocation.service_layer.operations.replay import comparing, journal_order
from allocation.service_layer.operations.replay import rebuilding as operation
from allocation.service_layer.operations.replay import rebuilding_ports as ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import sqlalchemy

    from allocation import config
    from allocation.service_layer.operations import audit

from allocation.bootstrap import connections, repairing


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be rebuilt: into which schema of which database, up to when, and what goes out (None: nothing).

    What is to be promoted is begun only when nothing stands against that.
    """

    into: str
    database_url: str | None = None
    until: datetime | None = None
    outbound_prefix: str | None = None
    fresh: bool = False
    to_be_promoted: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rebuild would do: rows of the journal (None: there is none to go by), or all commands by time."""

    rows: Sequence[journal_order.Row] | None

    @property
    def is_exact(self) -> bool:
        """Whether the journal gives the order."""
        return self.rows is not None

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.rows or ())

    @property
    def records(self) -> int:
        """How many commands the rows name."""
        return sum(row.size for row in self.rows or ())


class Rebuilder:
    """Rebuilds for one installation; every method blocks."""

    def __init__(self, settings: config.Settings, live: sqlalchemy.Engine, wish: Wish) -> None:
        self._settings = settings
        self._names = connections.topic_names(settings)
        self._live = live
        self._wish = wish

    def plan(self, on_progress: ports.Progress) -> Plan:
        """Return what is to be done; raises `CannotReplay`."""
        if self._wish.to_be_promoted:
            promoting.check_at_rest(self._live)
        with self._engine() as target:
            mark = None if self._wish.fresh else rebuilding.mark_of(target, self._wish.into)
            if mark is not None and not mark.is_exact:
                raise rebuilding.BadSchema(
                    f"schema {self._wish.into} was filled without a journal, and cannot catch up; --fresh fills it anew"
                )
            rows = self._rows(on_progress)
            if self._wish.to_be_promoted:
                promoting.check_is_exact(self._wish.into, is_exact=rows is not None)
            if rows is None:
                return Plan(None)
            known = journal_order.Known(()) if mark is None else rebuilding.known(target)
            return Plan(journal_order.lacking(rows, known, until=self._wish.until))

    def run(self, plan: Plan, on_progress: ports.Progress) -> operation.Summary:
        """Do what was planned; may be begun again after any error."""
        wish = self._wish
        with self._engine() as engine, self._outbound() as outbound:
            if wish.fresh:
                rebuilding.drop(engine, wish.into)
            until = None if wish.until is None else wish.until.isoformat()
            rebuilding.prepare(engine, wish.into, rebuilding.Mark(plan.is_exact, until))
            target = rebuilding.PostgresTarget(engine, journal_topic=self._names.journal)
            with opened(self._settings, self._live, target, starts=target.positions(), outbound=outbound) as rebuild:
                if plan.rows is None:
                    return rebuild.by_time(until=wish.until, on_progress=on_progress)
                return rebuild.by_journal(plan.rows, on_progress=on_progress)

    def _rows(self, on_progress: ports.Progress) -> Mapping[int, journal_order.Row] | None:
        log = journal_log.JournalLog(connections.kafka_clients(self._settings), topic=self._names.journal)
        found = log.read(on_progress)
        return None if found is None else {**rebuilding.rows(self._live, besides=found.keys()), **found}

    def _engine(self) -> contextlib.AbstractContextManager[sqlalchemy.Engine]:
        rebuilding.check_name(self._wish.into)
        return _engine(self._wish.database_url or self._settings.database_url, schema=self._wish.into)

    @contextlib.contextmanager
    def _outbound(self) -> Iterator[ports.Outbound]:
        prefix = self._wish.outbound_prefix
        if prefix is None:
            yield ports.Suppressed()
            return
        with prefixed_topics.open_topics(
            connections.kafka_clients(self._settings),
            prefix=prefix,
            names=(*self._names.events.values(), self._names.dead_letter),
            replicas=self._settings.replication_factor,
        ) as topics:
            yield topics


@contextlib.contextmanager
def rebuilder(settings: config.Settings, wish: Wish) -> Iterator[Rebuilder]:
    """Open what rebuilds; raises `NotInitialised` when the database does not belong to these topics."""
    with repairing.bound_database(settings) as live:
        yield Rebuilder(settings, live, wish)


@contextlib.contextmanager
def opened(
    settings: config.Settings,
    live: sqlalchemy.Engine,
    target: rebuilding.PostgresTarget,
    *,
    starts: Mapping[tuple[str, int], int],
    outbound: ports.Outbound,
) -> Iterator[operation.Rebuild]:
    """Open the command topics, and what handles them into a database."""
    names, clients = connections.topic_names(settings), connections.kafka_clients(settings)
    with (
        connections.serde(settings, live) as avro_serde,
        ordered_logs.open_logs(clients, tuple(names.commands.values()), starts=starts) as logs,
    ):
        yield operation.Rebuild(
            target=target,
            logs=logs,
            reader=reading.MessageReader(topics=names, deserializer=avro_serde),
            envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde),
            outbound=outbound,
            grace_s=settings.grace_s,
        )


def compare_rebuilt(
    settings: config.Settings, schema: str, *, database_url: str | None, keep: int, on_progress: ports.Progress
) -> comparing.Comparison:
    """Compare the live database with a rebuilt one; raises `CannotReplay` when there is none."""
    rebuilding.check_name(schema)
    with (
        repairing.bound_database(settings) as live,
        _engine(database_url or settings.database_url, schema=schema) as rebuilt,
    ):
        if rebuilding.mark_of(rebuilt, schema) is None:
            raise rebuilding.BadSchema(
                f"there is no schema {schema}; `allocation replay rebuild --into {schema}` makes it"
            )
        with postgres_comparing.side(live) as one, postgres_comparing.side(rebuilt) as other:
            return comparing.compare(one, other, keep=keep, on_progress=on_progress)


def promote_rebuilt(
    settings: config.Settings, schema: str, note: audit.Note, *, dry_run: bool, on_progress: ports.Progress
) -> promoting.Promoted:
    """Put a rebuilt schema in the place of the live one; raises `CannotReplay` while something stands against it."""
    with repairing.bound_database(settings) as live:
        return promoting.promote(live, schema, note, dry_run=dry_run, on_progress=on_progress)


@contextlib.contextmanager
def _engine(url: str, *, schema: str) -> Iterator[sqlalchemy.Engine]:
    engine = postgres.create(url, schema=schema)
    try:
        yield engine
    finally:
        engine.dispose()
