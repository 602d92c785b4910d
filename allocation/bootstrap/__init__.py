"""The composition root: the one place where parts are chosen and joined, a module for each process.

Everything that is opened here is a context manager, closed in reverse by whoever entered it.
"""

from __future__ import annotations

from allocation.bootstrap.bridging import bridge, establish_bridge
from allocation.bootstrap.connections import database, kafka_clients, serde, topic_names
from allocation.bootstrap.handling import message_bus, worker
from allocation.bootstrap.initialising import initialise
from allocation.bootstrap.operating import command_sender, inspection, tail, verification
from allocation.bootstrap.relaying import create_relay_shards, relay, relay_shards
from allocation.bootstrap.repairing import dead_letters, decoder, parked_commands, quarantine
from allocation.bootstrap.serving import Api, api

__all__ = [
    "Api",
    "api",
    "bridge",
    "command_sender",
    "create_relay_shards",
    "database",
    "dead_letters",
    "decoder",
    "establish_bridge",
    "initialise",
    "inspection",
    "kafka_clients",
    "message_bus",
    "parked_commands",
    "quarantine",
    "relay",
    "relay_shards",
    "serde",
    "tail",
    "topic_names",
    "verification",
    "worker",
]
