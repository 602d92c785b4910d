from __future__ import annotations

import socket
import urllib.request
from typing import TYPE_CHECKING

import psycopg2

from allocation import devstack

if TYPE_CHECKING:
    from allocation.devstack import Endpoints


def test_all_four_services_answer(endpoints: Endpoints) -> None:
    dsn = endpoints.database_url.replace("+psycopg2", "")
    connection = psycopg2.connect(dsn)
    connection.close()
    with urllib.request.urlopen(f"{endpoints.schema_registry_url}/subjects") as response:
        assert response.status == 200
    host, port = endpoints.kafka_bootstrap_servers.split(":")
    socket.create_connection((host, int(port))).close()


def test_kafkas_own_tools_talk_to_the_broker(endpoints: Endpoints) -> None:
    result = devstack.kafka_tool("kafka-topics", "--bootstrap-server", endpoints.kafka_bootstrap_servers, "--list")
    assert result.returncode == 0, result.stderr
