"""Landing: what was read, when, and how far (schema `landing`)."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, CheckConstraint, Column, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from staging.tables.columns import at, count, identity, metadata, one_of, words

extract_run = Table(
    "extract_run",
    metadata,
    identity(),
    Column("sync_id", BigInteger),
    words("system", required=True),
    words("stream", required=True),
    words("mode", required=True),
    words("state", required=True),
    Column("is_complete", Boolean, nullable=False, server_default=text("false")),
    count("pages"),
    count("received"),
    count("new"),
    count("changed"),
    count("unchanged"),
    count("deleted"),
    count("repeated"),
    count("refused"),
    count("bytes"),
    Column("cursor_before", JSONB),
    Column("cursor_after", JSONB),
    at("started_at", now=True),
    at("ended_at"),
    words("error"),
    one_of("mode", "full", "incremental", "sample", "record"),
    one_of("state", "running", "complete", "failed", "abandoned"),
    CheckConstraint(
        "received = new + changed + unchanged + deleted + repeated + refused", name="received_is_accounted_for"
    ),
    Index(None, "system", "stream", "started_at"),
    schema="landing",
)

cursor = Table(
    "cursor",
    metadata,
    words("system", primary_key=True),
    words("stream", primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("extract_run_id", BigInteger, nullable=False),
    at("updated_at", now=True),
    at("last_sweep_at"),
    schema="landing",
)

# Append-only: a row is a record's version exactly as it was read.
raw_record = Table(
    "raw_record",
    metadata,
    identity(),
    Column("extract_run_id", BigInteger, nullable=False),
    words("system", required=True),
    words("stream", required=True),
    words("source_id", required=True),
    words("payload", required=True),
    Column("raw_hash", BigInteger, nullable=False),
    words("changed"),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    Index(None, "system", "stream", "source_id"),
    Index(None, "extract_run_id"),
    schema="landing",
)

# One narrow row a live record: which version is the latest landed one, and how far that version has come.
# raw_hash NULL means: whatever the next reading shows is a change (set after our own write settled).
record = Table(
    "record",
    metadata,
    words("system", primary_key=True),
    words("stream", primary_key=True),
    words("source_id", primary_key=True),
    words("parent_id"),
    Column("raw_id", BigInteger, nullable=False),
    Column("raw_hash", BigInteger),
    words("state", required=True),
    words("declared"),
    Column("deleted", Boolean, nullable=False, server_default=text("false")),
    # the complete sweep that did not show it; gone only when the next one does not either (RELIABILITY P13)
    Column("missed_by", BigInteger),
    at("landed_at", now=True),
    one_of("state", "landed", "staged", "quarantined", "ignored"),
    Index("ix_record_work", "system", "stream", postgresql_where=text("state = 'landed'")),
    Index("ix_record_parent", "system", "stream", "parent_id", postgresql_where=text("parent_id is not null")),
    Index("ix_record_missed", "system", "stream", postgresql_where=text("missed_by is not null")),
    schema="landing",
)

# What a stream's records looked like so far, place by place: what is missing or of another type later is drift (P19).
shape = Table(
    "shape",
    metadata,
    words("system", primary_key=True),
    words("stream", primary_key=True),
    words("path", primary_key=True),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("present", BigInteger, nullable=False),
    Column("is_read", Boolean, nullable=False),
    words("declared"),
    at("learned_at", now=True),
    schema="landing",
)

inbox = Table(
    "inbox",
    metadata,
    identity(),
    words("system", required=True),
    words("delivery_id", required=True),
    Column("body", Text, nullable=False),
    words("state", required=True),
    at("received_at", now=True),
    one_of("state", "received", "done", "refused"),
    Index("uq_inbox_system_delivery_id", "system", "delivery_id", unique=True),
    schema="landing",
)
