"""Alembic's entry: runs the migrations on the connection that it is given."""

from alembic import context

from allocation.adapters.postgres import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
