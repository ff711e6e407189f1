"""What waits for a person: quarantine, reviews, findings. Nothing leaves a queue without a named end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

from staging import audit, tables
from staging.frames import literal, read_frame, temporary

# ------------------------------------------------------------------------------------------------------ quarantine


def quarantine(conn: Connection, entries: pl.DataFrame, *, owner: str | None, declared: str | None) -> int:
    """Opens entries (system, stream, source_id, entity, scope, rule, field, reason, raw_id, raw, batch_id,
    extract_run_id); one that is open already for the same cause stays the same entry. Gives how many are new."""
    if entries.is_empty():
        return 0
    columns = {
        "system": "text", "stream": "text", "source_id": "text", "entity": "text", "scope": "text", "rule": "text",
        "field": "text", "reason": "text", "raw_id": "bigint", "raw": "text", "batch_id": "bigint",
        "extract_run_id": "bigint",
    }  # fmt: skip
    missing = [pl.lit(None).alias(c) for c in columns if c not in entries.columns]
    table = temporary(conn, "to_quarantine", columns, entries.with_columns(missing).select(list(columns)))
    listed = ", ".join(columns)
    found = conn.execute(
        text(
            f"insert into ops.quarantine ({listed}, owner, declared, state)"
            f" select distinct on (system, stream, source_id, entity, rule, field) {listed}, :owner, :declared, 'open'"
            f" from {table} on conflict (system, stream, source_id, entity, rule, field) where state = 'open'"
            " do update set reason = excluded.reason, raw_id = excluded.raw_id, raw = excluded.raw,"
            " batch_id = excluded.batch_id, extract_run_id = excluded.extract_run_id returning (xmax = 0) as is_new"
        ),
        {"owner": owner, "declared": declared},
    )
    return sum(1 for is_new in found.scalars() if is_new)


def quarantine_failing(
    conn: Connection,
    failing: sa.TextualSelect,
    *,
    entity: str,
    batch_id: int,
    owner: str | None,
    declared: str,
) -> int:
    """Opens an entry for every row of `failing` (system, stream, source_id, rule, column, reason) of a batch."""
    rows = failing.subquery("f")
    candidate = sa.table(
        f"{entity}_candidate",
        *(sa.column(c) for c in ("batch_id", "system", "stream", "source_id", "raw_id")),
        schema="staging",
    )
    key = (rows.c.system, rows.c.stream, rows.c.source_id)
    found = (
        sa.select(
            *key,
            sa.literal(entity),
            sa.literal("record"),
            rows.c.rule,
            rows.c["column"],
            rows.c.reason,
            candidate.c.raw_id,
            sa.literal(batch_id),
            sa.literal(owner),
            sa.literal(declared),
            sa.literal("open"),
        )
        .distinct(*key, rows.c.rule, rows.c["column"])
        .join_from(
            rows,
            candidate,
            sa.and_(
                candidate.c.batch_id == batch_id,
                candidate.c.system == rows.c.system,
                candidate.c.stream == rows.c.stream,
                candidate.c.source_id == rows.c.source_id,
            ),
        )
    )
    names = (
        "system", "stream", "source_id", "entity", "scope", "rule", "field", "reason", "raw_id", "batch_id", "owner",
        "declared", "state",
    )  # fmt: skip
    into = postgresql.insert(tables.quarantine).from_select(list(names), found)
    into = into.on_conflict_do_update(
        index_elements=["system", "stream", "source_id", "entity", "rule", "field"],
        index_where=sa.text("state = 'open'"),
        set_={c: into.excluded[c] for c in ("reason", "raw_id", "batch_id")},
    )
    return int(conn.execute(into).rowcount)


def resolve_quarantine(conn: Connection, batch_id: int, candidates: str, entity: str) -> int:
    """Closes open entries of this batch's records whose cause it did not raise again."""
    found = conn.execute(
        text(
            "update ops.quarantine q set state = 'resolved', closed_at = now(), closed_by = 'concord',"
            " closed_because = case when c.failed then 'no longer so in batch ' else 'passed in batch ' end || :batch"
            f" from {candidates} c where c.batch_id = :batch"
            " and q.state = 'open' and q.system = c.system and q.stream = c.stream and q.source_id = c.source_id"
            " and (q.entity = :entity or q.entity is null) and q.batch_id is distinct from :batch"
        ),
        {"batch": batch_id, "entity": entity},
    )
    return int(found.rowcount)


def unreadable_ids(conn: Connection, system: str, stream: str) -> set[str]:
    """Ids of a stream's records that could not be read and wait for it."""
    found = conn.execute(
        text(
            "select source_id from ops.quarantine where state = 'open' and scope = 'unreadable'"
            " and system = :system and stream = :stream"
        ),
        {"system": system, "stream": stream},
    )
    return set(found.scalars())


def set_aside(conn: Connection, system: str, stream: str, reason: str) -> int:
    """How many of a stream's records wait unread for a reason that begins so."""
    found = conn.execute(
        text(
            "select count(*) from ops.quarantine where state = 'open' and scope = 'unreadable' and system = :system"
            " and stream = :stream and starts_with(reason, :reason)"
        ),
        {"system": system, "stream": stream, "reason": reason},
    )
    return int(found.scalar_one())


def close_unreadable(conn: Connection, system: str, stream: str, ids: Sequence[str], because: str) -> int:
    """Closes the entries of records that could not be read and now were; gives how many."""
    found = conn.execute(
        text(
            "update ops.quarantine set state = 'resolved', closed_at = now(), closed_by = 'concord',"
            " closed_because = :because where state = 'open' and scope = 'unreadable' and system = :system"
            " and stream = :stream and source_id = any(:ids)"
        ),
        {"system": system, "stream": stream, "ids": list(ids), "because": because},
    )
    return int(found.rowcount)


def close_gone(
    conn: Connection, system: str, stream: str, ids: Sequence[str], because: str, *, entity: str | None = None
) -> int:
    """Closes open entries of records that are gone, or that no longer make `entity` (None: whatever they made)."""
    found = conn.execute(
        text(
            "update ops.quarantine set state = 'resolved', closed_at = now(), closed_by = 'concord',"
            " closed_because = :because where state = 'open' and system = :system and stream = :stream"
            " and source_id = any(:ids) and (cast(:entity as text) is null or entity = :entity)"
        ),
        {"system": system, "stream": stream, "ids": list(ids), "because": because, "entity": entity},
    )
    return int(found.rowcount)


# --------------------------------------------------------------------------------------------------------- reviews


def open_reviews(conn: Connection, entity: str, reviews: pl.DataFrame, owner: str | None) -> int:
    """Opens reviews: system, stream, source_id, canonical_id, other, score, because. Gives how many are new."""
    if reviews.is_empty():
        return 0
    columns = {
        "system": "text", "stream": "text", "source_id": "text", "canonical_id": "text", "other": "text",
        "score": "float8", "because": "text",
    }  # fmt: skip
    table = temporary(conn, "to_review", columns, reviews.select(list(columns)))
    found = conn.execute(
        text(
            "insert into ops.review (entity, system, stream, source_id, canonical_id, other, score, because, owner,"
            f" state) select :entity, system, stream, source_id, canonical_id, other, score, because, :owner, 'open'"
            f" from {table} on conflict (entity, system, stream, source_id, other) where state = 'open'"
            " do update set canonical_id = excluded.canonical_id, score = excluded.score, because = excluded.because"
            " returning (xmax = 0) as is_new"
        ),
        {"entity": entity, "owner": owner},
    )
    return sum(1 for is_new in found.scalars() if is_new)


def withdraw_reviews(conn: Connection, entity: str, keys: pl.DataFrame) -> int:
    """Ends open reviews of records that matching has decided meanwhile."""
    columns = {"system": "text", "stream": "text", "source_id": "text"}
    table = temporary(conn, "decided", columns, keys.select(list(columns)))
    found = conn.execute(
        text(
            "update ops.review r set state = 'withdrawn', closed_at = now(), answered_by = 'concord',"
            f" answer_reason = 'new evidence decided it' from {table} d where r.state = 'open' and r.entity = :entity"
            " and r.system = d.system and r.stream = d.stream and r.source_id = d.source_id"
        ),
        {"entity": entity},
    )
    return int(found.rowcount)


def answers(conn: Connection, entity: str) -> pl.DataFrame:
    """Every judgement of a person: system, stream, source_id, other (key), verdict."""
    return read_frame(
        conn,
        "select system, stream, source_id, other, verdict from ops.review"
        f" where entity = {literal(entity)} and state = 'answered'",
        dict.fromkeys(("system", "stream", "source_id", "other", "verdict"), pl.String),
    )


def answer_review(conn: Connection, review_id: int, verdict: str, *, by: str, reason: str) -> Mapping[str, Any] | None:
    """Stores a person's answer; None when no such review is open."""
    found = conn.execute(
        text(
            "update ops.review set state = 'answered', verdict = :verdict, answered_by = :by, answer_reason = :reason,"
            " closed_at = now() where id = :id and state = 'open' returning *"
        ),
        {"id": review_id, "verdict": verdict, "by": by, "reason": reason},
    ).mappings()
    row = found.one_or_none()
    return dict(row) if row else None


# -------------------------------------------------------------------------------------------------------- findings


def open_findings(conn: Connection, findings: pl.DataFrame, owner: str | None) -> int:
    """Opens findings: kind, entity, canonical_id, system, stream, source_id, field, ours, theirs, action, because."""
    if findings.is_empty():
        return 0
    names = (
        "kind", "entity", "canonical_id", "system", "stream", "source_id", "field", "ours", "theirs", "action",
        "because",
    )  # fmt: skip
    table = temporary(conn, "to_find", dict.fromkeys(names, "text"), findings.select(names))
    listed = ", ".join(names)
    found = conn.execute(
        text(
            f"insert into ops.finding ({listed}, owner, state)"
            f" select distinct on (kind, entity, system, stream, source_id, field) {listed}, :owner, 'open'"
            f" from {table} on conflict (kind, entity, system, stream, source_id, field) where state = 'open'"
            " do update set ours = excluded.ours, theirs = excluded.theirs, because = excluded.because"
            " returning (xmax = 0) as is_new"
        ),
        {"owner": owner},
    )
    return sum(1 for is_new in found.scalars() if is_new)


def report_overdue_waits(conn: Connection, hours: int) -> int:
    """Writes that wait for a parent longer than `hours` become findings, one a record (DESIGN 9.8); those that wait no
    more are closed."""
    conn.execute(
        text(
            "update ops.finding f set state = 'corrected', closed_at = now(), closed_by = 'concord',"
            " closed_because = 'it waits no more'"
            " where f.state = 'open' and f.kind = 'unresolved_reference' and f.source_id = f.canonical_id"
            " and not exists (select from ops.outbox o where o.state = 'waiting' and o.entity = f.entity"
            " and o.system = f.system and o.stream = f.stream and o.canonical_id = f.canonical_id)"
        )
    )
    found = conn.execute(
        text(
            "insert into ops.finding (kind, entity, canonical_id, system, stream, source_id, field, action, because,"
            " owner, state) select 'unresolved_reference', o.entity, o.canonical_id, o.system, o.stream,"
            " o.canonical_id, o.refs -> 0 ->> 'path', 'report',"
            " 'waits for a ' || (o.refs -> 0 ->> 'entity') || ' that is not known in ' || o.system, null, 'open'"
            " from ops.outbox o where o.state = 'waiting'"
            " and o.released_at < now() - make_interval(hours => :hours) on conflict do nothing"
        ),
        {"hours": hours},
    )
    return int(found.rowcount)


def close_findings(conn: Connection, rows: pl.DataFrame, because: str, *, kind: str) -> int:
    """Closes open findings of a kind as corrected: rows of entity, system, stream, source_id, field (null: any)."""
    columns = dict.fromkeys(("entity", "system", "stream", "source_id", "field"), "text")
    table = temporary(conn, "to_close", columns, rows.select(list(columns)))
    found = conn.execute(
        text(
            "update ops.finding f set state = 'corrected', closed_at = now(), closed_by = 'concord',"
            " closed_because = :because"
            f" from {table} t where f.state = 'open' and f.kind = :kind and f.entity = t.entity"
            " and f.system = t.system and f.stream = t.stream and f.source_id = t.source_id"
            " and (t.field is null or f.field = t.field)"
        ),
        {"because": because, "kind": kind},
    )
    return int(found.rowcount)


def accept_finding(conn: Connection, finding_id: int, *, by: str, reason: str) -> bool:
    """Closes a finding as accepted by a person; False when it is not open."""
    found = conn.execute(
        text(
            "update ops.finding set state = 'accepted', closed_at = now(), closed_by = :by, closed_because = :reason"
            " where id = :id and state = 'open'"
        ),
        {"id": finding_id, "by": by, "reason": reason},
    )
    if found.rowcount:
        audit.append(conn, by, "finding.accepted", f"finding:{finding_id}", reason=reason)
    return found.rowcount == 1
