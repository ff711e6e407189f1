"""Every table of Concord but the entity tables, once, in SQLAlchemy Core (DESIGN 4).

Entity tables (`staging.customer`, `golden.customer` …) are generated from the model: `staging.entity_tables`.
Times are `timestamptz` and always the database's own clock. Every queue has ONE state column with a CHECK, so that an
item has exactly one home (DESIGN 7, RELIABILITY P3).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

SCHEMAS = ("landing", "staging", "golden", "ops", "report")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=False), primary_key=True)


def _at(name: str, *, now: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), server_default=func.now() if now else None, nullable=not now)


def _text(name: str, *, required: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=not (required or primary_key), primary_key=primary_key)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{v}'" for v in values)
    return CheckConstraint(f"{column} in ({listed})", name=f"{column}_is_known")


# --------------------------------------------------------------------------------------------------------- landing

extract_run = Table(
    "extract_run",
    metadata,
    _id(),
    Column("sync_id", BigInteger),
    _text("system", required=True),
    _text("stream", required=True),
    _text("mode", required=True),
    _text("state", required=True),
    Column("is_complete", Boolean, nullable=False, server_default=text("false")),
    _count("pages"),
    _count("received"),
    _count("new"),
    _count("changed"),
    _count("unchanged"),
    _count("deleted"),
    _count("repeated"),
    _count("refused"),
    _count("bytes"),
    Column("cursor_before", JSONB),
    Column("cursor_after", JSONB),
    _at("started_at", now=True),
    _at("ended_at"),
    _text("error"),
    _one_of("mode", "full", "incremental", "sample", "record"),
    _one_of("state", "running", "complete", "failed", "abandoned"),
    CheckConstraint(
        "received = new + changed + unchanged + deleted + repeated + refused", name="received_is_accounted_for"
    ),
    Index(None, "system", "stream", "started_at"),
    schema="landing",
)

cursor = Table(
    "cursor",
    metadata,
    _text("system", primary_key=True),
    _text("stream", primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("extract_run_id", BigInteger, nullable=False),
    _at("updated_at", now=True),
    _at("last_sweep_at"),
    schema="landing",
)

# Append-only: a row is a record's version exactly as it was read.
raw_record = Table(
    "raw_record",
    metadata,
    _id(),
    Column("extract_run_id", BigInteger, nullable=False),
    _text("system", required=True),
    _text("stream", required=True),
    _text("source_id", required=True),
    _text("payload", required=True),
    Column("raw_hash", BigInteger, nullable=False),
    _text("changed"),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    Index(None, "system", "stream", "source_id"),
    Index(None, "extract_run_id"),
    schema="landing",
)

# One narrow row a live record: which version is the latest landed one, and how far that version has come.
# raw_hash NULL means: whatever is read next is a change (set after our own write settled).
record = Table(
    "record",
    metadata,
    _text("system", primary_key=True),
    _text("stream", primary_key=True),
    _text("source_id", primary_key=True),
    _text("parent_id"),
    Column("raw_id", BigInteger, nullable=False),
    Column("raw_hash", BigInteger),
    _text("state", required=True),
    _text("declared"),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    _at("landed_at", now=True),
    _one_of("state", "landed", "staged", "quarantined", "ignored"),
    Index("ix_record_work", "system", "stream", postgresql_where=text("state = 'landed'")),
    Index("ix_record_parent", "system", "stream", "parent_id", postgresql_where=text("parent_id is not null")),
    schema="landing",
)

# The ids a running sweep has seen; a complete sweep's absent ids are found by an anti-join, then this is emptied.
sweep_seen = Table(
    "sweep_seen",
    metadata,
    Column("extract_run_id", BigInteger, nullable=False),
    _text("source_id", required=True),
    Index(None, "extract_run_id", "source_id"),
    schema="landing",
    prefixes=["UNLOGGED"],
)

inbox = Table(
    "inbox",
    metadata,
    _id(),
    _text("system", required=True),
    _text("delivery_id", required=True),
    Column("body", Text, nullable=False),
    _text("state", required=True),
    _at("received_at", now=True),
    _one_of("state", "received", "done", "refused"),
    Index("uq_inbox_system_delivery_id", "system", "delivery_id", unique=True),
    schema="landing",
)

# ------------------------------------------------------------------------------------------------------------- ops

declaration = Table(
    "declaration",
    metadata,
    _text("digest", primary_key=True),
    _text("landscape", required=True),
    Column("files", JSON, nullable=False),
    _at("first_used_at", now=True),
    schema="ops",
)

sync = Table(
    "sync",
    metadata,
    _id(),
    _text("integration", required=True),
    _text("mode", required=True),
    _text("state", required=True),
    _text("declaration"),
    _text("flow_run_id"),
    _text("started_by"),
    _at("started_at", now=True),
    _at("heartbeat_at", now=True),
    _at("ended_at"),
    Column("summary", JSONB),
    _text("error"),
    _one_of("state", "running", "complete", "failed", "abandoned"),
    Index(None, "integration", "started_at"),
    schema="ops",
)

batch = Table(
    "batch",
    metadata,
    _id(),
    Column("sync_id", BigInteger),
    _text("entity", required=True),
    _text("system", required=True),
    _text("stream", required=True),
    _text("declared", required=True),
    _text("state", required=True),
    _count("mapped"),
    _count("passed"),
    _count("quarantined"),
    _count("ignored"),
    _count("tombstones"),
    Column("verdict", JSONB),
    _text("docs"),
    _at("started_at", now=True),
    _at("ended_at"),
    _one_of("state", "open", "passed", "split", "stopped", "abandoned"),
    # a stopped batch has moved nothing: its records are still landed and are mapped again by the next sync
    CheckConstraint(
        "state in ('open', 'stopped', 'abandoned') or mapped = passed + quarantined + ignored",
        name="mapped_is_accounted_for",
    ),
    Index(None, "entity", "system", "stream", "started_at"),
    schema="ops",
)

quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    _text("system", required=True),
    _text("stream", required=True),
    _text("source_id"),
    _text("entity"),
    _text("scope", required=True),
    _text("rule", required=True),
    _text("field"),
    _text("reason", required=True),
    Column("raw_id", BigInteger),
    Column("raw", Text),
    Column("batch_id", BigInteger),
    Column("extract_run_id", BigInteger),
    _text("declared"),
    _text("owner"),
    _text("state", required=True),
    _at("opened_at", now=True),
    _at("closed_at"),
    _text("closed_because"),
    _text("closed_by"),
    _one_of("scope", "record", "field", "unreadable"),
    _one_of("state", "open", "resolved", "discarded"),
    Index(
        "uq_quarantine_open",
        "system",
        "stream",
        "source_id",
        "entity",
        "rule",
        "field",
        unique=True,
        postgresql_where=text("state = 'open'"),
        postgresql_nulls_not_distinct=True,
    ),
    Index(None, "state", "opened_at"),
    schema="ops",
)

crosswalk = Table(
    "crosswalk",
    metadata,
    _id(),
    _text("entity", required=True),
    _text("system", required=True),
    _text("stream", required=True),
    _text("source_id", required=True),
    _text("canonical_id", required=True),
    Column("is_primary", Boolean, nullable=False),
    _text("because", required=True),
    Column("score", Float),
    _text("linked_by", required=True),
    Column("batch_id", BigInteger),
    _at("linked_at", now=True),
    _at("ended_at"),
    _text("ended_because"),
    Index(
        "uq_crosswalk_live_record",
        "entity",
        "system",
        "stream",
        "source_id",
        unique=True,
        postgresql_where=text("ended_at is null"),
    ),
    Index(
        "uq_crosswalk_primary",
        "entity",
        "system",
        "stream",
        "canonical_id",
        unique=True,
        postgresql_where=text("ended_at is null and is_primary"),
    ),
    Index(
        "ix_crosswalk_canonical",
        "canonical_id",
        postgresql_where=text("ended_at is null"),
    ),
    schema="ops",
)

# Similarity's blocking keys of staged records; derived, rebuilt for the records it concerns.
match_key = Table(
    "match_key",
    metadata,
    _text("entity", required=True),
    _text("block", required=True),
    _text("system", required=True),
    _text("stream", required=True),
    _text("source_id", required=True),
    Index(None, "entity", "block"),
    Index(None, "entity", "system", "stream", "source_id"),
    schema="ops",
)

review = Table(
    "review",
    metadata,
    _id(),
    _text("entity", required=True),
    _text("system", required=True),
    _text("stream", required=True),
    _text("source_id", required=True),
    _text("canonical_id"),
    _text("other", required=True),
    Column("score", Float),
    _text("because", required=True),
    _text("owner"),
    _text("state", required=True),
    _text("verdict"),
    _text("answered_by"),
    _text("answer_reason"),
    _at("opened_at", now=True),
    _at("closed_at"),
    _one_of("state", "open", "answered", "withdrawn"),
    CheckConstraint("verdict in ('link', 'separate')", name="verdict_is_known"),
    Index(
        "uq_review_open",
        "entity",
        "system",
        "stream",
        "source_id",
        "other",
        unique=True,
        postgresql_where=text("state = 'open'"),
    ),
    Index(None, "state", "opened_at"),
    schema="ops",
)

history = Table(
    "history",
    metadata,
    _text("entity", primary_key=True),
    _text("canonical_id", primary_key=True),
    Column("version", Integer, primary_key=True),
    _at("at", now=True),
    Column("sync_id", BigInteger),
    _text("declared"),
    Column("changes", JSON, nullable=False),
    schema="golden",
)

plan = Table(
    "plan",
    metadata,
    _id(),
    Column("sync_id", BigInteger),
    _text("integration", required=True),
    _text("entity", required=True),
    _text("system", required=True),
    _text("stream", required=True),
    _count("considered"),
    _count("unchanged"),
    _count("adopted"),
    _count("enqueued"),
    Column("listing", JSON),
    Column("is_dry", Boolean, nullable=False, server_default=text("false")),
    _at("planned_at", now=True),
    Index(None, "sync_id"),
    schema="ops",
)

OUTBOX_STATES = (
    "planned", "ready", "waiting", "held", "inflight", "unknown", "delivered", "superseded", "rejected", "dead",
)  # fmt: skip

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("plan_id", BigInteger, nullable=False),
    Column("sync_id", BigInteger),
    _text("integration", required=True),
    _text("entity", required=True),
    _text("canonical_id", required=True),
    Column("version", Integer, nullable=False),
    _text("system", required=True),
    _text("stream", required=True),
    _text("op", required=True),
    _text("source_id"),
    Column("payload", JSON, nullable=False),
    Column("asked", JSON, nullable=False),
    Column("before", JSON),
    Column("fields", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("refs", JSON),
    _text("key", required=True),
    _text("write_hash", required=True),
    _text("state", required=True),
    _text("because", required=True),
    _text("reason"),
    Column("blanked", Integer, nullable=False, server_default=text("0")),
    Column("money", JSON),
    Column("hold_id", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _at("due_at", now=True),
    _at("released_at"),
    Column("fence", BigInteger),
    _text("claimed_by"),
    _at("lease_until"),
    _at("created_at", now=True),
    _at("settled_at"),
    _one_of("op", "create", "update", "archive", "delete"),
    _one_of("state", *OUTBOX_STATES),
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
    Index("ix_outbox_due", "system", "due_at", postgresql_where=text("state = 'ready'")),
    Index(None, "state"),
    Index(None, "plan_id"),
    Index(None, "canonical_id"),
    schema="ops",
)

attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("outbox_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    _text("outcome", required=True),
    Column("status", Integer),
    _text("field"),
    _text("reason"),
    _at("started_at", now=True),
    _at("ended_at"),
    _one_of("outcome", "sent", "done", "rejected", "retry", "unknown", "found", "not_found"),
    Index(None, "outbox_id"),
    schema="ops",
)

shadow = Table(
    "shadow",
    metadata,
    _text("entity", primary_key=True),
    _text("system", primary_key=True),
    _text("stream", primary_key=True),
    _text("canonical_id", primary_key=True),
    _text("source_id", required=True),
    Column("asked", JSON, nullable=False),
    Column("read", JSON),
    Column("version", Integer, nullable=False),
    Column("is_archived", Boolean, nullable=False, server_default=text("false")),
    _at("confirmed_at", now=True),
    schema="ops",
)

# (golden, target) pairs a change concerns and that were not planned yet.
dirty = Table(
    "dirty",
    metadata,
    _text("entity", primary_key=True),
    _text("canonical_id", primary_key=True),
    _text("integration", primary_key=True),
    _text("system", primary_key=True),
    _text("stream", primary_key=True),
    schema="ops",
)

target_state = Table(
    "target_state",
    metadata,
    _text("integration", primary_key=True),
    _text("system", primary_key=True),
    _text("stream", primary_key=True),
    _text("declared"),
    _text("mode"),
    Column("is_paused", Boolean, nullable=False, server_default=text("false")),
    schema="ops",
)

hold = Table(
    "hold",
    metadata,
    _id(),
    _text("kind", required=True),
    _text("integration", required=True),
    _text("entity", required=True),
    _text("system", required=True),
    _text("stream", required=True),
    _text("op", required=True),
    _text("reason", required=True),
    Column("writes", Integer, nullable=False),
    _text("owner"),
    _text("state", required=True),
    _at("opened_at", now=True),
    _at("due_at"),
    _at("closed_at"),
    _text("closed_by"),
    _text("closed_because"),
    _one_of("kind", "brake", "ask_when", "mode", "window", "delete", "currency", "duplicate"),
    _one_of("state", "open", "approved", "rejected", "expired"),
    Index(None, "state", "opened_at"),
    schema="ops",
)

approval = Table(
    "approval",
    metadata,
    _id(),
    Column("hold_id", BigInteger, nullable=False),
    _text("verdict", required=True),
    _text("by", required=True),
    _text("reason", required=True),
    Column("write_hashes", ARRAY(Text), nullable=False),
    _at("at", now=True),
    _at("expires_at"),
    _one_of("verdict", "approve", "reject"),
    schema="ops",
)

finding = Table(
    "finding",
    metadata,
    _id(),
    _text("kind", required=True),
    _text("entity", required=True),
    _text("canonical_id"),
    _text("system", required=True),
    _text("stream", required=True),
    _text("source_id"),
    _text("field"),
    Column("ours", Text),
    Column("theirs", Text),
    _text("action", required=True),
    _text("because", required=True),
    _text("owner"),
    _text("state", required=True),
    _at("opened_at", now=True),
    _at("closed_at"),
    _text("closed_because"),
    _one_of(
        "kind",
        "unauthorised_edit",
        "duplicate",
        "deleted_elsewhere",
        "blank_at_first_link",
        "orphan",
        "bridge",
        "unresolved_reference",
        "difference",
        "target_duplicate",
        "reopened",
        "ambiguous_create",
    ),
    _one_of("action", "restore", "report", "ask"),
    _one_of("state", "open", "corrected", "accepted"),
    Index(
        "uq_finding_open",
        "kind",
        "entity",
        "system",
        "stream",
        "source_id",
        "field",
        unique=True,
        postgresql_where=text("state = 'open'"),
        postgresql_nulls_not_distinct=True,
    ),
    Index(None, "state", "opened_at"),
    schema="ops",
)

dead_letter = Table(
    "dead_letter",
    metadata,
    _id(),
    Column("outbox_id", BigInteger, nullable=False),
    _text("system", required=True),
    _text("stream", required=True),
    _text("field"),
    _text("reason", required=True),
    _text("owner"),
    _text("state", required=True),
    _at("opened_at", now=True),
    _at("closed_at"),
    _text("closed_because"),
    _one_of("state", "open", "replayed", "discarded"),
    Index(None, "state", "opened_at"),
    schema="ops",
)

incident = Table(
    "incident",
    metadata,
    _id(),
    _text("key", required=True),
    _text("kind", required=True),
    _text("integration"),
    _text("system"),
    _text("owner"),
    _text("cause", required=True),
    _text("unaffected"),
    _text("next_step"),
    _text("state", required=True),
    Column("times", Integer, nullable=False, server_default=text("1")),
    _at("opened_at", now=True),
    _at("last_seen_at", now=True),
    _at("closed_at"),
    _one_of("state", "open", "recovered"),
    Index("uq_incident_open", "key", unique=True, postgresql_where=text("state = 'open'")),
    schema="ops",
)

alert_outbox = Table(
    "alert_outbox",
    metadata,
    _id(),
    Column("incident_id", BigInteger, nullable=False),
    _text("title", required=True),
    Column("lines", ARRAY(Text), nullable=False),
    _text("channel"),
    _text("state", required=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _text("error"),
    _at("created_at", now=True),
    _at("sent_at"),
    _one_of("state", "ready", "sent", "failed"),
    schema="ops",
)

lease = Table(
    "lease",
    metadata,
    _text("name", primary_key=True),
    _text("holder", required=True),
    Column("fence", BigInteger, nullable=False),
    _at("until"),
    _at("taken_at", now=True),
    schema="ops",
)

breaker = Table(
    "breaker",
    metadata,
    _text("system", primary_key=True),
    _text("state", required=True),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    _at("open_until"),
    _text("reason"),
    _one_of("state", "closed", "open", "half_open"),
    schema="ops",
)

rate = Table(
    "rate",
    metadata,
    _text("system", primary_key=True),
    Column("window_seconds", Float, primary_key=True),
    Column("used", Integer, nullable=False, server_default=text("0")),
    _at("window_started_at", now=True),
    schema="ops",
)

token = Table(
    "token",
    metadata,
    _text("system", primary_key=True),
    Column("value", Text, nullable=False),
    _at("expires_at"),
    _at("updated_at", now=True),
    schema="ops",
)

unit_of_work = Table(
    "unit_of_work",
    metadata,
    _text("token", primary_key=True),
    _text("what", required=True),
    _at("at", now=True),
    schema="ops",
)

audit = Table(
    "audit",
    metadata,
    _id(),
    _at("at", now=True),
    _text("actor", required=True),
    _text("action", required=True),
    _text("subject", required=True),
    Column("detail", JSONB),
    _text("previous"),
    _text("digest", required=True),
    schema="ops",
)

pause = Table(
    "pause",
    metadata,
    _text("what", primary_key=True),
    _text("by", required=True),
    _text("reason"),
    _at("at", now=True),
    schema="ops",
)
