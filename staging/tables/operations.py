"""Operations: incidents and alerts, leases and limits, secrets that rotate, the audit."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Float, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSON

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

# One row for each place that a message goes to. `folded`: what it says went out in another message (folded_into).
alert_outbox = Table(
    "alert_outbox",
    metadata,
    identity(),
    Column("incident_id", BigInteger),
    words("kind", required=True),
    words("via", required=True),
    words("channel"),
    Column("recipients", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    words("title", required=True),
    Column("lines", ARRAY(Text), nullable=False),
    words("state", required=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    words("error"),
    Column("stands_in_for", BigInteger),
    Column("folded_into", BigInteger),
    at("created_at", now=True),
    at("due_at", now=True),
    at("sent_at"),
    one_of("kind", "opened", "recovered", "digest"),
    one_of("state", "ready", "sent", "failed", "folded"),
    Index("ix_alert_outbox_incident", "incident_id"),
    Index("ix_alert_outbox_ready", "via", "id", postgresql_where=text("state = 'ready'")),
    schema="ops",
)

# Every try to deliver a message: who was told when, and why somebody was not.
alert_attempt = Table(
    "alert_attempt",
    metadata,
    identity(),
    Column("alert_id", BigInteger, nullable=False),
    words("outcome", required=True),
    words("error"),
    at("at", now=True),
    one_of("outcome", "sent", "refused", "failed"),
    Index(None, "alert_id"),
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

# Append-only. Number, time and chain are the database's own work: `staging.tables.guards`.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, server_default=text("0")),
    at("at", now=True),
    words("actor", required=True),
    words("action", required=True),
    words("subject", required=True),
    Column("detail", JSON, nullable=False, server_default=text("'{}'")),
    Column("reason_digest", Text, nullable=False, server_default=text("''")),
    Column("previous", Text, nullable=False, unique=True, server_default=text("''")),
    Column("digest", Text, nullable=False, server_default=text("''")),
    Index(None, "subject"),
    Index(None, "at"),
    schema="ops",
)

# What a person said is no part of the chain: it may name somebody, and then it can be erased. Its digest is chained.
audit_reason = Table(
    "audit_reason",
    metadata,
    Column("audit_id", BigInteger, primary_key=True, autoincrement=False),
    words("salt", required=True),
    words("reason", required=True),
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
