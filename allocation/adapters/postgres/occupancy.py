"""Who works with the database at the moment: what concerns all of it may be done only when nobody does."""

from __future__ import annotations

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


def check_unused(cursor: Any) -> None:
    """Raise `CannotReplay` while somebody else is connected or holds a lease; says who."""
    found: list[str] = []
    for query in (_LEASED, _CONNECTED):
        cursor.execute(query)
        found.extend(text for (text,) in cursor.fetchall())
    if found:
        raise ports.CannotReplay(
            f"the database is in use: {'; '.join(found)}. Stop worker, relay, bridge, API and maintenance first (the "
            "lease of one that was killed ends by itself within seconds)"
        )
