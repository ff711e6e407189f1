"""Doubts about what was read: findings over a whole stream, and what a person said about them.

A finding that is accepted means: it is meant so. What was doubted is believed from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from sqlalchemy import Connection, text

from staging import queues

BELIEVED_DAYS = 3
"""So long a person's word holds that fewer records are meant so: two sweeps must find it in that time."""
_NAMES = (
    "kind", "entity", "canonical_id", "system", "stream", "source_id", "field", "ours", "theirs", "action", "because",
)  # fmt: skip


def report(conn: Connection, owner: str | None, doubts: Sequence[Mapping[str, str | None]]) -> int:
    """Opens findings: kind, entity, system, stream, because, and where it applies source_id, field, ours, theirs. One
    that is open stays the same finding with the newer words. Gives how many are new."""
    rows = [{name: doubt.get(name) for name in _NAMES} | {"action": "ask"} for doubt in doubts]
    return queues.open_findings(conn, pl.DataFrame(rows, schema=dict.fromkeys(_NAMES, pl.String)), owner)


def close(
    conn: Connection, kind: str, system: str, stream: str, because: str, *, fields: Sequence[str] | None = None
) -> int:
    """Closes open findings of a kind over a stream (`fields`: only over these); gives how many."""
    found = conn.execute(
        text(
            "update ops.finding set state = 'corrected', closed_at = now(), closed_by = 'concord',"
            " closed_because = :because where state = 'open' and kind = :kind and system = :system and stream = :stream"
            " and (cast(:fields as text[]) is null or field = any(:fields))"
        ),
        {
            "because": because,
            "kind": kind,
            "system": system,
            "stream": stream,
            "fields": None if fields is None else list(fields),
        },
    )
    return int(found.rowcount)


def close_records(conn: Connection, kind: str, system: str, stream: str, ids: Sequence[str], because: str) -> int:
    """Closes open findings of a kind over single records; gives how many."""
    found = conn.execute(
        text(
            "update ops.finding set state = 'corrected', closed_at = now(), closed_by = 'concord',"
            " closed_because = :because where state = 'open' and kind = :kind and system = :system and stream = :stream"
            " and source_id = any(:ids)"
        ),
        {"because": because, "kind": kind, "system": system, "stream": stream, "ids": list(ids)},
    )
    return int(found.rowcount)


def open_ids(conn: Connection, kind: str, system: str, stream: str) -> set[str]:
    """The records of a stream with an open finding of a kind."""
    found = conn.execute(
        text(
            "select source_id from ops.finding where state = 'open' and kind = :kind and system = :system"
            " and stream = :stream and source_id is not null"
        ),
        {"kind": kind, "system": system, "stream": stream},
    )
    return set(found.scalars())


def accepted_shapes(conn: Connection, system: str, stream: str) -> list[str]:
    """Places whose other look a person has accepted after it was last learned."""
    found = conn.execute(
        text(
            "select distinct f.field from ops.finding f join landing.shape s on s.system = f.system"
            " and s.stream = f.stream and s.path = f.field where f.state = 'accepted' and f.kind = 'schema_drift'"
            " and f.system = :system and f.stream = :stream and f.closed_at > s.learned_at"
        ),
        {"system": system, "stream": stream},
    )
    return sorted(found.scalars())


def accepted_drop(conn: Connection, system: str, stream: str) -> int | None:
    """Down to how many records a person believes a stream, said in the last days; None: nothing said."""
    found = conn.execute(
        text(
            "select theirs from ops.finding where state = 'accepted' and kind = 'count_drop' and system = :system"
            " and stream = :stream and closed_at > now() - make_interval(days => :days) order by closed_at desc limit 1"
        ),
        {"system": system, "stream": stream, "days": BELIEVED_DAYS},
    ).scalar_one_or_none()
    return int(found) if found is not None else None


def is_rewrite_accepted(conn: Connection, system: str, stream: str, declared: str) -> bool:
    """Whether a person has agreed that these very declarations rewrite a stream's records."""
    found = conn.execute(
        text(
            "select exists (select from ops.finding where state = 'accepted' and kind = 'mass_rewrite'"
            " and system = :system and stream = :stream and theirs = :declared)"
        ),
        {"system": system, "stream": stream, "declared": declared},
    )
    return bool(found.scalar_one())


def open_by_stream(conn: Connection, kinds: Sequence[str]) -> list[tuple[str, str, str, str, int]]:
    """Open findings of some kinds as (kind, entity, system, stream, how many)."""
    found = conn.execute(
        text(
            "select kind, min(entity) as entity, system, stream, count(*) as n from ops.finding where state = 'open'"
            " and kind = any(:kinds) group by kind, system, stream order by kind, system, stream"
        ),
        {"kinds": list(kinds)},
    )
    return [(r.kind, r.entity, r.system, r.stream, int(r.n)) for r in found]
