"""Runs: syncs, batches, and the declarations they worked under."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table
from sqlalchemy.dialects.postgresql import JSON, JSONB

from staging.tables.columns import at, count, identity, metadata, one_of, words

declaration = Table(
    "declaration",
    metadata,
    words("digest", primary_key=True),
    words("landscape", required=True),
    Column("files", JSON, nullable=False),
    at("first_used_at", now=True),
    # the latest of a landscape is the one that works; what was active before is refused until a person says otherwise
    at("activated_at"),
    words("activated_by"),
    words("activated_because"),
    schema="ops",
)

sync = Table(
    "sync",
    metadata,
    identity(),
    words("integration", required=True),
    words("mode", required=True),
    words("state", required=True),
    words("declaration"),
    words("flow_run_id"),
    words("started_by"),
    at("started_at", now=True),
    at("heartbeat_at", now=True),
    at("ended_at"),
    Column("summary", JSONB),
    words("error"),
    one_of("state", "running", "complete", "failed", "abandoned"),
    Index(None, "integration", "started_at"),
    schema="ops",
)

batch = Table(
    "batch",
    metadata,
    identity(),
    Column("sync_id", BigInteger),
    words("entity", required=True),
    words("system", required=True),
    words("stream", required=True),
    words("declared", required=True),
    words("state", required=True),
    count("mapped"),
    count("passed"),
    count("quarantined"),
    count("ignored"),
    count("tombstones"),
    Column("verdict", JSONB),
    words("docs"),
    at("started_at", now=True),
    at("ended_at"),
    one_of("state", "open", "passed", "split", "stopped", "abandoned"),
    # a stopped batch has moved nothing: its records are still landed and are mapped again by the next sync
    CheckConstraint(
        "state in ('open', 'stopped', 'abandoned') or mapped = passed + quarantined + ignored",
        name="mapped_is_accounted_for",
    ),
    Index(None, "entity", "system", "stream", "started_at"),
    schema="ops",
)
