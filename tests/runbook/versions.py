"""Versions that follow this one: what an upgrade goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.runbook import host as hosts

if TYPE_CHECKING:
    from pathlib import Path

_STAMPED = """
    # What began later has found these tables as they are now.
    op.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
    op.execute("INSERT INTO reservations (sku) VALUES ('{version}')")
"""
_ADDED = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = {head!r}
TABLES = ("products", "batches", "order_lines", "inbox", "parked", "positions", "journal", "outbox", "leases", "audit")


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("sku", sa.Text(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp()),
    )
    for table in TABLES:
        op.add_column(table, sa.Column("remark", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("kind", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("order_lines_remark_idx", "order_lines", ["remark"])
"""
_TAKEN_AWAY = """
from alembic import op

revision = "last"
down_revision = "next"


def upgrade() -> None:
    op.drop_column("releases", "begun_at")
"""
# The worker of this version asks for it all the time, the next one no longer, and the one after that drops it.
_USED = "FROM releases ORDER BY begun_at, queue"
_UNUSED = "FROM releases ORDER BY queue"


def the_next(directory: Path, number: str = "1.1") -> Path:
    """Make a version that adds columns to the tables that work goes on in, a table and an index, and uses one less."""
    source = hosts.copy_version(directory)
    postgres = source / "allocation" / "adapters" / "postgres"
    head = max((postgres / "migrations" / "versions").glob("*.py")).name[:4]
    _add_a_migration(source, "9998_next.py", _ADDED.format(head=head) + _STAMPED.format(version="1.1"))
    (source / "allocation" / "__init__.py").write_text(f'"""A later version."""\n\n__version__ = "{number}"\n')
    asking = postgres / "waiting_room.py"
    assert _USED in asking.read_text()
    asking.write_text(asking.read_text().replace(_USED, _UNUSED))
    return source


def the_one_after_the_next(directory: Path) -> Path:
    """Make a version that takes away what the next one has used no longer."""
    source = the_next(directory, "1.2")
    _add_a_migration(source, "9999_last.py", _TAKEN_AWAY + _STAMPED.format(version="1.2"))
    return source


def _add_a_migration(source: Path, name: str, text: str) -> None:
    (source / "allocation" / "adapters" / "postgres" / "migrations" / "versions" / name).write_text(text)
