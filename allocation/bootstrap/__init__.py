"""The composition root: the one place where parts are chosen and joined, a module for each process.

Everything that is opened here is a context manager, closed in reverse by whoever entered it. A module is
imported when something of it is asked for: a relay need not wait for what the API is made of.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allocation.bootstrap.bridging import bridge, establish_bridge
    from allocation.bootstrap.connections import database, kafka_clients, serde, topic_names
    from allocation.bootstrap.contracting import register_schemas, schema_breaches, schema_contracts
    from allocation.bootstrap.describing import asyncapi
    from allocation.bootstrap.handling import worker
    from allocation.bootstrap.initialising import initialise
    from allocation.bootstrap.maintaining import maintenance, maintenance_turn
    from allocation.bootstrap.moving import move
    from allocation.bootstrap.observing import observation
    from allocation.bootstrap.operating import command_sender, history, inspection, tail, verification
    from allocation.bootstrap.overseeing import Oversight, oversight
    from allocation.bootstrap.rebuilding import compare_rebuilt, promote_rebuilt, rebuilder
    from allocation.bootstrap.relaying import create_relay_shards, relay, relay_shards
    from allocation.bootstrap.repairing import audit_log, dead_letters, decoder, parked_commands, quarantine
    from allocation.bootstrap.replaying import (
        handling_again,
        positions,
        replay_planner,
        resender,
        rewinder,
        skipper,
    )
    from allocation.bootstrap.restoring import restorer
    from allocation.bootstrap.serving import api
    from allocation.bootstrap.tracing import spans, tracer_provider, traces_are_wanted

_HOMES = {
    "Oversight": "overseeing",
    "api": "serving",
    "asyncapi": "describing",
    "audit_log": "repairing",
    "bridge": "bridging",
    "command_sender": "operating",
    "compare_rebuilt": "rebuilding",
    "create_relay_shards": "relaying",
    "database": "connections",
    "dead_letters": "repairing",
    "decoder": "repairing",
    "establish_bridge": "bridging",
    "handling_again": "replaying",
    "history": "operating",
    "initialise": "initialising",
    "inspection": "operating",
    "kafka_clients": "connections",
    "maintenance": "maintaining",
    "maintenance_turn": "maintaining",
    "move": "moving",
    "observation": "observing",
    "oversight": "overseeing",
    "parked_commands": "repairing",
    "positions": "replaying",
    "promote_rebuilt": "rebuilding",
    "quarantine": "repairing",
    "rebuilder": "rebuilding",
    "register_schemas": "contracting",
    "relay": "relaying",
    "relay_shards": "relaying",
    "replay_planner": "replaying",
    "resender": "replaying",
    "restorer": "restoring",
    "rewinder": "replaying",
    "schema_breaches": "contracting",
    "schema_contracts": "contracting",
    "serde": "connections",
    "skipper": "replaying",
    "spans": "tracing",
    "tail": "operating",
    "topic_names": "connections",
    "tracer_provider": "tracing",
    "traces_are_wanted": "tracing",
    "verification": "operating",
    "worker": "handling",
}

__all__ = [
    "Oversight",
    "api",
    "asyncapi",
    "audit_log",
    "bridge",
    "command_sender",
    "compare_rebuilt",
    "create_relay_shards",
    "database",
    "dead_letters",
    "decoder",
    "establish_bridge",
    "handling_again",
    "history",
    "initialise",
    "inspection",
    "kafka_clients",
    "maintenance",
    "maintenance_turn",
    "move",
    "observation",
    "oversight",
    "parked_commands",
    "positions",
    "promote_rebuilt",
    "quarantine",
    "rebuilder",
    "register_schemas",
    "relay",
    "relay_shards",
    "replay_planner",
    "resender",
    "restorer",
    "rewinder",
    "schema_breaches",
    "schema_contracts",
    "serde",
    "skipper",
    "spans",
    "tail",
    "topic_names",
    "tracer_provider",
    "traces_are_wanted",
    "verification",
    "worker",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
