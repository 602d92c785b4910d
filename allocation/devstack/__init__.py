"""Kafka, PostgreSQL, Redis and a schema registry as plain processes, for the demo and the tests.

Everything comes from package registries; no container engine, no root and no installed Java is
needed. Imported by the command line and the tests only: the service itself knows addresses.
"""

from __future__ import annotations

from allocation.devstack.endpoints import Endpoints
from allocation.devstack.errors import DevstackError
from allocation.devstack.process import Service
from allocation.devstack.profiles import Profile
from allocation.devstack.stack import Stack, install
from allocation.devstack.tools import kafka_tool

__all__ = ["DevstackError", "Endpoints", "Profile", "Service", "Stack", "install", "kafka_tool"]
