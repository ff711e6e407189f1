"""Delivery: plans, the outbox, attempts, shadows, and what must be planned."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSON

from staging.tables.columns import at, count, identity, metadata, one_of, words

plan = Table(
    "plan",
    metadata,
    identity(),
    Column("sync_id", BigInteger),
    words("integration", required=True),
    words("entity", required=True),
    words("system", required=True),
    words("stream", required=True),
    Column("authority", JSON),
    count("considered"),
    count("unchanged"),
    count("adopted"),
    count("enqueued"),
    count("observed"),
    at("planned_at", now=True),
    Index(None, "sync_id"),
    schema="ops",
)

OUTBOX_STATES = (
    "planned", "ready", "waiting", "held", "inflight", "unknown", "delivered", "superseded", "rejected", "dead",
)  # fmt: skip

outbox = Table(
    "outbox",
    metadata,
    identity(),
    Column("plan_id", BigInteger, nullable=False),
    Column("sync_id", BigInteger),
    words("integration", required=True),
    words("entity", required=True),
    words("canonical_id", required=True),
    Column("version", Integer, nullable=False),
    words("system", required=True),
    words("stream", required=True),
    words("op", required=True),
    words("source_id"),
    Column("payload", JSON, nullable=False),
    Column("asked", JSON, nullable=False),
    Column("before", JSON),
    Column("fields", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("refs", JSON),
    words("key", required=True),
    words("write_hash", required=True),
    words("state", required=True),
    words("because", required=True),
    words("reason"),
    Column("blanked", Integer, nullable=False, server_default=text("0")),
    Column("money", JSON),
    Column("hold_id", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    at("due_at", now=True),
    at("released_at"),
    # each claim is a worker's of its own name: whoever holds a write by another name has lost it (RELIABILITY P7)
    words("claimed_by"),
    at("lease_until"),
    # the request that it was last sent in, and when it was sent first: an idempotency key lives only so long
    words("request"),
    at("sent_at"),
    at("created_at", now=True),
    at("settled_at"),
    one_of("op", "create", "update", "archive", "delete"),
    one_of("state", *OUTBOX_STATES),
    # One request in flight a target record (P6); what is unknown keeps the slot until it was looked up (9.11).
    Index(
        "uq_outbox_slot",
        "system",
        "stream",
        "entity",
        "canonical_id",
        unique=True,
        postgresql_where=text("state in ('inflight', 'unknown')"),
    ),
    Index(
        "ix_outbox_open",
        "system",
        "stream",
        "entity",
        "canonical_id",
        postgresql_where=text("state in ('planned', 'ready', 'waiting', 'held', 'inflight', 'unknown')"),
    ),
    # the states that a release, a hold and a parent ask for, each by what they ask with
    Index("ix_outbox_planned", "integration", postgresql_where=text("state = 'planned'")),
    Index("ix_outbox_held", "hold_id", postgresql_where=text("state = 'held'")),
    Index("ix_outbox_waiting", "system", postgresql_where=text("state = 'waiting'")),
    Index("ix_outbox_ready", "system", "stream", "entity", "op", "id", postgresql_where=text("state = 'ready'")),
    # creates that were sent, never answered clearly, and ended by a person: few, and asked for by every plan
    Index(
        "ix_outbox_doubtful",
        "canonical_id",
        postgresql_where=text("state = 'superseded' and op = 'create' and request is not null"),
    ),
    Index(None, "plan_id"),
    Index(None, "canonical_id"),
    schema="ops",
)

attempt = Table(
    "attempt",
    metadata,
    identity(),
    Column("outbox_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    words("outcome", required=True),
    Column("status", Integer),
    words("field"),
    words("reason"),
    at("started_at", now=True),
    at("ended_at"),
    # the audit row of its batch, and what its share in that row's digest is keyed with (or the share itself, erased)
    words("batch"),
    words("salt"),
    words("leaf"),
    one_of("outcome", "sent", "done", "rejected", "retry", "unknown", "found", "not_found"),
    Index(None, "outbox_id"),
    schema="ops",
)

shadow = Table(
    "shadow",
    metadata,
    words("entity", primary_key=True),
    words("system", primary_key=True),
    words("stream", primary_key=True),
    words("canonical_id", primary_key=True),
    words("source_id", required=True),
    Column("asked", JSON, nullable=False),
    Column("read", JSON),
    Column("version", Integer, nullable=False),
    Column("is_archived", Boolean, nullable=False, server_default=text("false")),
    at("confirmed_at", now=True),
    schema="ops",
)

# (golden, target) pairs a change concerns and that were not planned yet.
dirty = Table(
    "dirty",
    metadata,
    words("entity", primary_key=True),
    words("canonical_id", primary_key=True),
    words("integration", primary_key=True),
    words("system", primary_key=True),
    words("stream", primary_key=True),
    schema="ops",
)

target_state = Table(
    "target_state",
    metadata,
    words("integration", primary_key=True),
    words("system", primary_key=True),
    words("stream", primary_key=True),
    words("declared"),
    words("mode"),
    schema="ops",
)

# A rehearsal that a person kept, to be applied exactly as it was shown (DESIGN 9.13).
saved_plan = Table(
    "saved_plan",
    metadata,
    identity(),
    words("name", required=True),
    words("mode", required=True),
    words("declaration", required=True),
    words("digest", required=True),
    Column("writes", Integer, nullable=False),
    Column("golden_versions", Integer, nullable=False),
    Column("reviews", Integer, nullable=False),
    Column("targets", JSON, nullable=False),
    words("made_by", required=True),
    at("made_at", now=True),
    words("state", required=True),
    words("applied_by"),
    at("applied_at"),
    Column("sync_id", BigInteger),
    one_of("state", "open", "applied"),
    schema="ops",
)

saved_write = Table(
    "saved_write",
    metadata,
    Column("saved_plan_id", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),
    words("integration", required=True),
    words("entity", required=True),
    words("canonical_id", required=True),
    words("label", required=True),
    words("system", required=True),
    words("stream", required=True),
    words("op", required=True),
    words("source_id"),
    Column("payload", JSON, nullable=False),
    Column("changes", JSON, nullable=False),
    Column("waits_for", JSON, nullable=False),
    words("because", required=True),
    words("hold"),
    words("mode", required=True),
    words("write_hash", required=True),
    words("fingerprint", required=True),
    one_of("mode", "observe", "ask", "write"),
    schema="ops",
)
