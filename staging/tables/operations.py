"""Operations: incidents and alerts, leases and limits, secrets that rotate, the audit."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Float, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from staging.tables.columns import at, identity, metadata, one_of, words

incident = Table(
    "incident",
    metadata,
    identity(),
    words("key", required=True),
    words("kind", required=True),
    words("integration"),
    words("system"),
    words("owner"),
    words("cause", required=True),
    words("unaffected"),
    words("next_step"),
    words("state", required=True),
    Column("times", Integer, nullable=False, server_default=text("1")),
    at("opened_at", now=True),
    at("last_seen_at", now=True),
    at("closed_at"),
    one_of("state", "open", "recovered"),
    Index("uq_incident_open", "key", unique=True, postgresql_where=text("state = 'open'")),
    schema="ops",
)

alert_outbox = Table(
    "alert_outbox",
    metadata,
    identity(),
    Column("incident_id", BigInteger, nullable=False),
    words("title", required=True),
    Column("lines", ARRAY(Text), nullable=False),
    words("channel"),
    words("state", required=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    words("error"),
    at("created_at", now=True),
    at("sent_at"),
    one_of("state", "ready", "sent", "failed"),
    schema="ops",
)

lease = Table(
    "lease",
    metadata,
    words("name", primary_key=True),
    words("holder", required=True),
    Column("fence", BigInteger, nullable=False),
    at("until"),
    at("taken_at", now=True),
    schema="ops",
)

breaker = Table(
    "breaker",
    metadata,
    words("system", primary_key=True),
    words("state", required=True),
    Column("failures", Integer, nullable=False),
    Column("opened", Integer, nullable=False),
    at("until"),
    words("reason"),
    at("changed_at", now=True),
    one_of("state", "closed", "open", "half_open"),
    schema="ops",
)

rate = Table(
    "rate",
    metadata,
    words("name", primary_key=True),
    Column("window_seconds", Float, primary_key=True),
    Column("slot", BigInteger, primary_key=True),
    Column("used", Integer, nullable=False),
    schema="ops",
)

rate_pause = Table(
    "rate_pause",
    metadata,
    words("name", primary_key=True),
    at("until", now=True),
    schema="ops",
)

token = Table(
    "token",
    metadata,
    words("system", primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("value", Text, nullable=False),
    Column("is_sealed", Boolean, nullable=False),
    words("scopes"),
    at("expires_at"),
    at("renew_at"),
    at("stored_at", now=True),
    at("asked_at"),
    at("refused_at"),
    words("refused"),
    at("authorised_at"),
    words("authorised_by"),
    schema="ops",
)

unit_of_work = Table(
    "unit_of_work",
    metadata,
    words("token", primary_key=True),
    words("what", required=True),
    at("at", now=True),
    schema="ops",
)

audit = Table(
    "audit",
    metadata,
    identity(),
    at("at", now=True),
    words("actor", required=True),
    words("action", required=True),
    words("subject", required=True),
    Column("detail", JSONB),
    words("previous"),
    words("digest", required=True),
    schema="ops",
)

# One row a pause. What is over by its own time rests no more, whether or not anybody has closed the row.
pause = Table(
    "pause",
    metadata,
    identity(),
    words("what", required=True),
    words("by", required=True),
    words("reason", required=True),
    Column("except_sync_id", BigInteger),
    at("at", now=True),
    at("until"),
    at("ended_at"),
    words("ended_by"),
    words("ended_because"),
    Index("uq_pause_open", "what", unique=True, postgresql_where=text("ended_at is null")),
    schema="ops",
)

# A person's word that a target which is declared to be observed is written to from now on (DESIGN 9.15).
going_live = Table(
    "going_live",
    metadata,
    identity(),
    words("integration", required=True),
    words("system", required=True),
    words("stream", required=True),
    words("by", required=True),
    words("reason"),
    Column("saved_plan_id", BigInteger, nullable=False),
    words("digest", required=True),
    at("at", now=True),
    at("ended_at"),
    words("ended_by"),
    words("ended_because"),
    Index(
        "uq_going_live_open",
        "integration",
        "system",
        "stream",
        unique=True,
        postgresql_where=text("ended_at is null"),
    ),
    schema="ops",
)
