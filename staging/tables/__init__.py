"""Every table of Concord but the entity tables, once, in SQLAlchemy Core (DESIGN 4).

Entity tables (`staging.customer`, `golden.customer` …) are generated from the model: `staging.entity_tables`.
Times are `timestamptz` and always the database's own clock. Every queue has ONE state column with a CHECK, so that an
item has exactly one home (DESIGN 7, RELIABILITY P3).
"""

from __future__ import annotations

from staging.tables.columns import SCHEMAS, metadata
from staging.tables.delivery import (
    OUTBOX_STATES,
    attempt,
    dirty,
    outbox,
    plan,
    saved_plan,
    saved_write,
    shadow,
    target_state,
)
from staging.tables.identity import crosswalk, history, match_key, merge, review
from staging.tables.landing import cursor, extract_run, inbox, raw_record, record, shape
from staging.tables.operations import (
    alert_attempt,
    alert_outbox,
    audit,
    audit_reason,
    breaker,
    going_live,
    incident,
    lease,
    pause,
    rate,
    rate_pause,
    token,
    unit_of_work,
)
from staging.tables.privacy import erased, erasure
from staging.tables.queues import approval, dead_letter, finding, hold, override, quarantine
from staging.tables.restoring import restored
from staging.tables.runs import batch, declaration, sync

__all__ = [
    "OUTBOX_STATES",
    "SCHEMAS",
    "alert_attempt",
    "alert_outbox",
    "approval",
    "attempt",
    "audit",
    "audit_reason",
    "batch",
    "breaker",
    "crosswalk",
    "cursor",
    "dead_letter",
    "declaration",
    "dirty",
    "erased",
    "erasure",
    "extract_run",
    "finding",
    "going_live",
    "history",
    "hold",
    "inbox",
    "incident",
    "lease",
    "match_key",
    "merge",
    "metadata",
    "outbox",
    "override",
    "pause",
    "plan",
    "quarantine",
    "rate",
    "rate_pause",
    "raw_record",
    "record",
    "restored",
    "review",
    "saved_plan",
    "saved_write",
    "shadow",
    "shape",
    "sync",
    "target_state",
    "token",
    "unit_of_work",
]
