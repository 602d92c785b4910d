"""Who works with the database at the moment: what concerns all of it may be done only when nobody does."""

from __future__ import annotations

import time
from typing import Any

from allocation.service_layer.operations.replay import ports

_CONNECTED = """
SELECT format('connection %s from %s, since %s', pid, coalesce(host(client_addr), 'this machine'),
    to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS'))
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name ~ '^allocation( |$)'
    AND backend_type = 'client backend'
"""
# Who does the maintenance keeps the lease for as long as nobody else shall, and is not at work meanwhile.
_LEASED = """
SELECT format('%s (%s)', name, owner) FROM leases WHERE expires_at > clock_timestamp() AND name <> 'maintenance'
"""
_LOOK_ANEW = "SELECT pg_stat_clear_snapshot()"  # within one transaction the first look would serve for all
# The server needs some milliseconds to end a connection that was closed, a busy one longer: whoever has stopped just
# now, or was this command itself a moment ago, is in nobody's way.
_PATIENCE_S = 3.0
_POLL_S = 0.05


def check_unused(cursor: Any) -> None:
    """Raise `CannotReplay` while somebody else is connected or holds a lease; says who."""
    leased, connected = _asked(cursor, _LEASED), _asked(cursor, _CONNECTED)
    deadline = time.monotonic() + _PATIENCE_S
    while connected and not leased and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        cursor.execute(_LOOK_ANEW)
        connected = _asked(cursor, _CONNECTED)
    if leased or connected:
        raise ports.CannotReplay(
            f"the database is in use: {'; '.join(leased + connected)}. Stop worker, relay, bridge, API and maintenance "
            "first (the lease of one that was killed ends by itself within seconds)"
        )


def _asked(cursor: Any, query: str) -> list[str]:
    cursor.execute(query)
    return [text for (text,) in cursor.fetchall()]
