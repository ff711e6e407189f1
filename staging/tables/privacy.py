"""Privacy: who was erased, so that nobody comes back in silence. Ids and counts, no value."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table
from sqlalchemy.dialects.postgresql import JSON

from staging.tables.columns import at, identity, metadata, words

# One row an erasure, with the proof of it.
erasure = Table(
    "erasure",
    metadata,
    identity(),
    words("entity", required=True),
    words("canonical_id", required=True),
    words("by", required=True),
    Column("proof", JSON, nullable=False),
    words("digest", required=True),
    at("at", now=True),
    Index(None, "canonical_id"),
    schema="ops",
)

# The source records of the erased: what is read of them again is refused.
erased = Table(
    "erased",
    metadata,
    words("system", primary_key=True),
    words("stream", primary_key=True),
    words("source_id", primary_key=True),
    at("at", now=True),
    schema="ops",
)
