"""The first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("journal_number", cache=1)))
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_table(
        "batches",
        sa.Column("reference", sa.Text(collation="C"), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("created_quantity", sa.Integer(), nullable=False),
        sa.Column("purchased", sa.Integer(), nullable=False),
        sa.Column("allocated", sa.Integer(), nullable=False),
        sa.Column("eta", sa.Date(), nullable=True),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.CheckConstraint("allocated BETWEEN 0 AND purchased", name=op.f("batches_oversold_check")),
        sa.PrimaryKeyConstraint("reference", name=op.f("batches_pkey")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(op.f("batches_sku_idx"), "batches", ["sku"], unique=False)
    op.create_table(
        "bridge_positions",
        sa.Column("bridge", sa.Text(), nullable=False),
        sa.Column("topic_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("bridge", "topic_id", "partition", name=op.f("bridge_positions_pkey")),
    )
    op.create_table(
        "dead_letter_decisions",
        sa.Column("topic_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("topic_id", "partition", "offset", name=op.f("dead_letter_decisions_pkey")),
    )
    op.create_table(
        "inbox",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", "source", name=op.f("inbox_pkey")),
    )
    op.create_table(
        "instance",
        sa.Column("only", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("database_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("incarnation", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("earlier", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=True),
        sa.Column("topic_prefix", sa.Text(), nullable=True),
        sa.CheckConstraint('"only"', name=op.f("instance_only_check")),
        sa.PrimaryKeyConstraint("only", name=op.f("instance_pkey")),
    )
    op.create_table(
        "journal",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("entries", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("journal_pkey")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("leases_pkey")),
    )
    op.create_table(
        "locks",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("locks_pkey")),
    )
    op.create_table(
        "order_lines",
        sa.Column("orderid", sa.Text(collation="C"), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("qty", sa.Integer(), nullable=False),
        sa.Column("batchref", sa.Text(collation="C"), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("orderid", "sku", "qty", name=op.f("order_lines_pkey")),
        sa.UniqueConstraint("batchref", "place", name=op.f("order_lines_batchref_place_key")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=True),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(collation="C"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("quarantined", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
    )
    op.create_index("outbox_unsent_idx", "outbox", ["shard", "id"], postgresql_where=sa.text("quarantined IS NULL"))
    op.create_index(
        "outbox_quarantined_idx",
        "outbox",
        ["shard", "sku", "id"],
        postgresql_where=sa.text("quarantined IS NOT NULL"),
    )
    op.create_table(
        "parked",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("queue", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("error_class", sa.Text(), nullable=False),
        sa.Column("stack", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("command", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("batchref", sa.Text(collation="C"), nullable=True),
        sa.Column("message_source", sa.Text(collation="C"), nullable=False),
        sa.Column("message_id", sa.Text(collation="C"), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("waits", sa.Boolean(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("topic_id", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("leader_epoch", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("timestamp_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("parked_pkey")),
    )
    op.create_index(op.f("parked_batchref_idx"), "parked", ["batchref"], unique=False)
    op.create_index(op.f("parked_expires_at_idx"), "parked", ["expires_at"], unique=False)
    op.create_index(op.f("parked_queue_id_idx"), "parked", ["queue", "id"], unique=False)
    op.create_index(
        "parked_landmarks_idx",
        "parked",
        ["queue", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'poisoned' OR command ->> 'type' = 'CreateBatch'"),
    )
    op.create_table(
        "positions",
        sa.Column("topic_id", sa.Text(collation="C"), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("leader_epoch", sa.Integer(), nullable=False),
        sa.Column("last_offset", sa.BigInteger(), nullable=False),
        sa.Column("last_digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("topic_id", "partition", name=op.f("positions_pkey")),
        postgresql_with={"fillfactor": 20},
    )
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(collation="C"), nullable=False),
        sa.Column("version_number", sa.BigInteger(), nullable=False),
        sa.Column("event_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sku", name=op.f("products_pkey")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "prunings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("before", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("prunings_pkey")),
    )
    op.create_table(
        "registered_schemas",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("schema_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "schema_id", name=op.f("registered_schemas_pkey")),
    )
    op.create_table(
        "relay_shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("checkpointed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("passes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivery", sa.Text(), server_default=sa.text("'exactly_once'"), nullable=False),
        sa.Column("repeated_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shard", name=op.f("relay_shards_pkey")),
        postgresql_with={"fillfactor": 20},
    )
    op.create_table(
        "releases",
        sa.Column("queue", sa.Text(collation="C"), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("queue", name=op.f("releases_pkey")),
    )


def downgrade() -> None:
    op.execute(sa.schema.DropSequence(sa.Sequence("journal_number")))
    op.drop_table("releases")
    op.drop_table("relay_shards")
    op.drop_table("registered_schemas")
    op.drop_table("prunings")
    op.drop_table("products")
    op.drop_table("positions")
    op.drop_index("parked_landmarks_idx", table_name="parked")
    op.drop_index(op.f("parked_queue_id_idx"), table_name="parked")
    op.drop_index(op.f("parked_expires_at_idx"), table_name="parked")
    op.drop_index(op.f("parked_batchref_idx"), table_name="parked")
    op.drop_table("parked")
    op.drop_index("outbox_quarantined_idx", table_name="outbox")
    op.drop_index("outbox_unsent_idx", table_name="outbox")
    op.drop_table("outbox")
    op.drop_table("order_lines")
    op.drop_table("locks")
    op.drop_table("leases")
    op.drop_table("journal")
    op.drop_table("instance")
    op.drop_table("inbox")
    op.drop_table("dead_letter_decisions")
    op.drop_table("bridge_positions")
    op.drop_index(op.f("batches_sku_idx"), table_name="batches")
    op.drop_table("batches")
    op.drop_table("audit")
