"""Identity: which source record is which golden record, how doubt is kept, and golden history."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Float, Index, Integer, Table, text
from sqlalchemy.dialects.postgresql import JSON

from staging.tables.columns import at, identity, metadata, named_end, one_of, words

crosswalk = Table(
    "crosswalk",
    metadata,
    identity(),
    words("entity", required=True),
    words("system", required=True),
    words("stream", required=True),
    words("source_id", required=True),
    words("canonical_id", required=True),
    Column("is_primary", Boolean, nullable=False),
    words("because", required=True),
    Column("score", Float),
    words("linked_by", required=True),
    Column("batch_id", BigInteger),
    at("linked_at", now=True),
    at("ended_at"),
    words("ended_because"),
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
    words("entity", required=True),
    words("block", required=True),
    words("system", required=True),
    words("stream", required=True),
    words("source_id", required=True),
    Index(None, "entity", "block"),
    Index(None, "entity", "system", "stream", "source_id"),
    schema="ops",
)

review = Table(
    "review",
    metadata,
    identity(),
    words("entity", required=True),
    words("system", required=True),
    words("stream", required=True),
    words("source_id", required=True),
    words("canonical_id"),
    words("other", required=True),
    Column("score", Float),
    words("because", required=True),
    words("owner"),
    words("state", required=True),
    words("verdict"),
    words("answered_by"),
    words("answer_reason"),
    at("opened_at", now=True),
    at("closed_at"),
    one_of("state", "open", "answered", "withdrawn"),
    named_end("answered_by", "answer_reason"),
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

# A person's word that two golden records are one. `links` are those that moved, so that it can be taken back.
merge = Table(
    "merge",
    metadata,
    identity(),
    words("entity", required=True),
    words("loser", required=True),
    words("winner", required=True),
    words("by", required=True),
    words("reason", required=True),
    Column("links", JSON, nullable=False),
    at("at", now=True),
    at("undone_at"),
    words("undone_by"),
    words("undone_because"),
    Index("uq_merge_loser", "entity", "loser", unique=True, postgresql_where=text("undone_at is null")),
    Index(None, "winner"),
    schema="ops",
)

history = Table(
    "history",
    metadata,
    words("entity", primary_key=True),
    words("canonical_id", primary_key=True),
    Column("version", Integer, primary_key=True),
    at("at", now=True),
    Column("sync_id", BigInteger),
    words("declared"),
    Column("changes", JSON, nullable=False),
    schema="golden",
)
