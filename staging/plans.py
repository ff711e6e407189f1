"""Saved plans: what a rehearsal showed, kept write by write, to be applied exactly so and once (DESIGN 9.13)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from staging.frames import ident, write_frame

_COLUMNS = (
    "integration", "entity", "canonical_id", "label", "system", "stream", "op", "source_id", "payload", "changes",
    "waits_for", "because", "hold", "mode", "write_hash", "fingerprint",
)  # fmt: skip


def save(
    conn: Connection,
    *,
    name: str,
    mode: str,
    declaration: str,
    digest: str,
    golden_versions: int,
    reviews: int,
    targets: Sequence[Mapping[str, Any]],
    writes: Sequence[Mapping[str, Any]],
    made_by: str,
) -> int:
    """Keeps a plan; gives its id. `writes`: the columns of `ops.saved_write`, JSON ones as text."""
    plan_id = int(
        conn.execute(
            text(
                "insert into ops.saved_plan (name, mode, declaration, digest, writes, golden_versions, reviews,"
                " targets, made_by, state) values (:name, :mode, :declaration, :digest, :writes, :versions, :reviews,"
                " cast(:targets as json), :by, 'open') returning id"
            ),
            {
                "name": name, "mode": mode, "declaration": declaration, "digest": digest, "writes": len(writes),
                "versions": golden_versions, "reviews": reviews, "targets": json.dumps(list(targets)), "by": made_by,
            },
        ).scalar_one()
    )  # fmt: skip
    if writes:
        rows = pl.DataFrame(list(writes), schema=dict.fromkeys(_COLUMNS, pl.String)).with_columns(
            pl.lit(plan_id, pl.Int64).alias("saved_plan_id"), pl.int_range(1, pl.len() + 1).alias("number")
        )
        write_frame(conn, ident("ops", "saved_write"), rows)
    return plan_id


_PLAN = (
    "select id, name, mode, declaration, digest, writes, golden_versions, reviews, targets, made_by, made_at, state,"
    " applied_by, applied_at, sync_id from ops.saved_plan"
)


def one(conn: Connection, plan_id: int) -> dict[str, Any] | None:
    """A saved plan, or None."""
    row = conn.execute(text(f"{_PLAN} where id = :id"), {"id": plan_id}).mappings().one_or_none()
    return dict(row) if row else None


def listed(conn: Connection, *, limit: int, is_all: bool) -> tuple[list[dict[str, Any]], int]:
    """Saved plans, the latest first, and how many there are; `is_all`: applied ones too."""
    where = "" if is_all else " where state = 'open'"
    rows = conn.execute(text(f"{_PLAN}{where} order by id desc limit :limit"), {"limit": limit}).mappings()
    total = int(conn.execute(text(f"select count(*) from ops.saved_plan{where}")).scalar_one())
    return [dict(r) for r in rows], total


def writes_of(conn: Connection, plan_id: int) -> list[dict[str, Any]]:
    """The writes of a saved plan in the order in which they were shown; `payload` as text."""
    names = ", ".join(f"{c}::text" if c == "payload" else c for c in _COLUMNS)
    found = conn.execute(
        text(f"select {names} from ops.saved_write where saved_plan_id = :id order by number"), {"id": plan_id}
    ).mappings()
    return [dict(r) for r in found]


def take(conn: Connection, plan_id: int, *, by: str, sync_id: int) -> bool:
    """Marks a plan as applied; False where somebody has done so already. Commits with the writes it lets go."""
    found = conn.execute(
        text(
            "update ops.saved_plan set state = 'applied', applied_by = :by, applied_at = now(), sync_id = :sync"
            " where id = :id and state = 'open'"
        ),
        {"id": plan_id, "by": by, "sync": sync_id},
    )
    return bool(found.rowcount)


def progress(conn: Connection, plan_id: int) -> dict[str, int]:
    """What has become of an applied plan's writes: outbox state → count."""
    found = conn.execute(
        text(
            "select o.state, count(*) as n from ops.saved_write w join lateral (select state from ops.outbox o where"
            " o.entity = w.entity and o.system = w.system and o.stream = w.stream and o.canonical_id = w.canonical_id"
            " and o.integration = w.integration and o.op = w.op order by (o.write_hash = w.write_hash) desc, o.id desc"
            " limit 1) o on true where w.saved_plan_id = :id and w.mode <> 'observe' group by 1"
        ),
        {"id": plan_id},
    )
    return {str(r.state): int(r.n) for r in found}
