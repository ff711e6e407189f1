"""After a backup was restored: which targets are still to be read to their end before anything is sent there."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, Table, text

from staging.tables.columns import at, metadata, words

restored = Table(
    "restored",
    metadata,
    words("system", primary_key=True),
    words("stream", primary_key=True),
    at("at", now=True),
    Column("is_read", Boolean, nullable=False),
    at("learned_at"),
    # records that stand there, are known from nowhere else, and may be what an older write made
    Column("strangers", Integer, nullable=False, server_default=text("0")),
    schema="ops",
)
