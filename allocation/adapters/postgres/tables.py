"""The tables, as SQLAlchemy knows them; the migrations build the same (a test compares the two).

Natural keys throughout, so that the same command log gives the same rows in any database. Hot tables
carry no foreign keys: a check per row costs more than the rest of its insert, and the writers hold
the locks that make it superfluous.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)

# Byte order: the same on every machine (collations change with the system's library), and the fastest.
Name = Text(collation="C")
Now = func.now()

# One row. `incarnation` changes when a restored database begins anew, and joins those that are over; cluster and prefix
# are what it is bound to.
instance = Table(
    "instance",
    metadata,
    Column("only", Boolean, primary_key=True, server_default=text("true")),
    Column("database_id", Uuid, nullable=False, server_default=func.gen_random_uuid()),
    Column("incarnation", Uuid, nullable=False, server_default=func.gen_random_uuid()),
    Column("earlier", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    Column("cluster_id", Text),
    Column("topic_prefix", Text),
    CheckConstraint('"only"', name="only"),
)

# A row to lock for every sku ("sku:…") and batch reference ("ref:…") that a command ever named, known or not.
locks = Table("locks", metadata, Column("name", Name, primary_key=True))

products = Table(
    "products",
    metadata,
    Column("sku", Name, primary_key=True),
    Column("version_number", BigInteger, nullable=False),
    Column("event_sequence", BigInteger, nullable=False),
    postgresql_with={"fillfactor": 50},  # rows are updated in place by nearly every transaction
)

batches = Table(
    "batches",
    metadata,
    Column("reference", Name, primary_key=True),
    Column("sku", Name, nullable=False),
    Column("created_quantity", Integer, nullable=False),
    Column("purchased", Integer, nullable=False),
    Column("allocated", Integer, nullable=False),
    Column("eta", Date),
    Column("line_count", Integer, nullable=False),
    CheckConstraint("allocated BETWEEN 0 AND purchased", name="oversold"),
    Index(None, "sku"),
    postgresql_with={"fillfactor": 50},
)

# `place` counts the lines below this one in its batch: the most recently allocated has the highest.
order_lines = Table(
    "order_lines",
    metadata,
    Column("orderid", Name, primary_key=True),
    Column("sku", Name, primary_key=True),
    Column("qty", Integer, primary_key=True),
    Column("batchref", Name, nullable=False),
    Column("place", Integer, nullable=False),
    UniqueConstraint("batchref", "place"),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", Name, primary_key=True),
    Column("source", Name, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("result", Text),
    Column("reason", Text),
    Column("error", Text),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("handled_at", DateTime(timezone=True), nullable=False, server_default=Now),
)

# Commands that wait for their batch, and those that keep their place behind one; in order of `id` within `queue`.
parked = Table(
    "parked",
    metadata,
    Column("id", BigInteger, Identity(cache=1), primary_key=True),
    Column("queue", Name, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("error_class", Text, nullable=False),
    Column("stack", Text, nullable=False),
    Column("parked_at", DateTime(timezone=True), nullable=False, server_default=Now),
    Column("expires_at", DateTime(timezone=True), index=True),
    Column("command", JSONB, nullable=False),
    Column("batchref", Name, index=True),
    Column("message_source", Name, nullable=False),
    Column("message_id", Name, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("waits", Boolean, nullable=False),
    Column("topic", Text, nullable=False),
    Column("topic_id", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("leader_epoch", Integer, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Index(None, "queue", "id"),
    # Few: what lets nothing pass, and what may pass those that wait.
    Index(
        "parked_landmarks_idx",
        "queue",
        "id",
        postgresql_where=text("state = 'poisoned' OR command ->> 'type' = 'CreateBatch'"),
    ),
)

# Queues whose release has begun, and goes on in transactions of its own.
releases = Table(
    "releases",
    metadata,
    Column("queue", Name, primary_key=True),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=Now),
)

# How far each log has been handled; `last_offset` and `last_digest` tell whether it is still the same log.
positions = Table(
    "positions",
    metadata,
    Column("topic_id", Name, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("leader_epoch", Integer, nullable=False),
    Column("last_offset", BigInteger, nullable=False),
    Column("last_digest", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": 20},  # a handful of rows, each updated by every micro-batch
)

journal_number = Sequence("journal_number", metadata=metadata, cache=1)
journal = Table(
    "journal",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("handled_at", DateTime(timezone=True), nullable=False, server_default=Now),
    Column("version", Text, nullable=False),
    Column("entries", JSONB, nullable=False),
)

# Rows are deleted once Kafka has them. `headers` is JSON: [name, value as Latin-1 text or null] each.
# `quarantined` says why Kafka refused a row, or that it keeps its place behind such a row of its sku.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(cache=1), primary_key=True),
    Column("shard", SmallInteger, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    Column("sku", Name),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=Now),
    Column("quarantined", Text),
    Index("outbox_unsent_idx", "shard", "id", postgresql_where=text("quarantined IS NULL")),
    Index("outbox_quarantined_idx", "shard", "sku", "id", postgresql_where=text("quarantined IS NOT NULL")),
)

# `checkpointed` is set once the shard's first checkpoint is in Kafka; from then on a missing one stops the relay.
# `passes` counts those whose rows are deleted. Kafka's last checkpoint is of this pass or of the next one, or else
# the database or the topic is older than the other. `delivery` is how rows are sent: without transactions there are no
# checkpoints, passes are counted on past the last one, and events may be repeated: `repeated_until` keeps until when.
relay_shards = Table(
    "relay_shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("checkpointed", Boolean, nullable=False, server_default=text("false")),
    Column("passes", BigInteger, nullable=False, server_default=text("0")),
    Column("delivery", Text, nullable=False, server_default=text("'exactly_once'")),
    Column("repeated_until", DateTime(timezone=True)),
    postgresql_with={"fillfactor": 20},  # a handful of rows, each updated by every pass
)

# Who may work on what that only one may work on; expiry by the database's clock. While `intermission` is somebody's,
# workers stay out of their group.
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

# How far a bridge has passed on a topic of events.
bridge_positions = Table(
    "bridge_positions",
    metadata,
    Column("bridge", Text, primary_key=True),
    Column("topic_id", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)

# The ids that the registry gave each version of our schemas, so that a start-up does not need the registry: that of an
# old process beside new ones neither.
registered_schemas = Table(
    "registered_schemas",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("schema_id", Integer, primary_key=True, autoincrement=False),
    Column("definition", Text, nullable=False),
)

# What operators changed; `subject` names it as they see it. Rows are never changed, only pruned when they are old.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(cache=1), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, server_default=Now),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("why", Text, nullable=False),
)

# What maintenance takes out of the other tables: rows of `name` older than `before` may be missing. `verify` must know.
# The row `everything` says when all of them were last gone through.
prunings = Table(
    "prunings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("before", DateTime(timezone=True), nullable=False),
)

# What was decided on a dead letter, by its place; one without a row is open. Keeps a second redrive from happening.
dead_letter_decisions = Table(
    "dead_letter_decisions",
    metadata,
    Column("topic_id", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("decision", String(16), nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
)
