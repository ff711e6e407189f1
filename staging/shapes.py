"""Shapes: what each stream's records looked like so far, place by place (RELIABILITY P19)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl
from sqlalchemy import Connection, text

from canonical.fingerprint import Known
from staging.frames import temporary


def known(conn: Connection, system: str, stream: str, declared: str) -> dict[str, Known]:
    """Place → what is known of it; nothing where it was learned under another declaration of the stream."""
    found = conn.execute(
        text(
            "select path, kinds, records, present from landing.shape where system = :system and stream = :stream"
            " and is_read and declared = :declared"
        ),
        {"system": system, "stream": stream, "declared": declared},
    )
    return {str(r.path): Known(frozenset(r.kinds), int(r.records), int(r.present)) for r in found}


def names(conn: Connection, system: str, stream: str) -> set[str]:
    """Every path that some record of the stream had, mapped or not."""
    found = conn.execute(
        text("select path from landing.shape where system = :system and stream = :stream"),
        {"system": system, "stream": stream},
    )
    return set(found.scalars())


def made_by_us(conn: Connection, system: str, stream: str, ids: Sequence[str]) -> set[str]:
    """Those of these records that Concord created there and that were never landed before."""
    found = conn.execute(
        text(
            "select c.source_id from ops.crosswalk c where c.system = :system and c.stream = :stream"
            " and c.source_id = any(:ids) and c.ended_at is null and exists (select from ops.outbox o where"
            " o.system = c.system and o.stream = c.stream and o.source_id = c.source_id and o.op = 'create'"
            " and o.state = 'delivered') and not exists (select from landing.record r where r.system = c.system"
            " and r.stream = c.stream and r.source_id = c.source_id)"
        ),
        {"system": system, "stream": stream, "ids": list(ids)},
    )
    return set(found.scalars())


def store(conn: Connection, system: str, stream: str, declared: str, learned: Mapping[str, Known]) -> None:
    """Puts what is known of mapped places in the place of what was known before."""
    if not learned:
        return
    conn.execute(
        text(
            "insert into landing.shape (system, stream, path, kinds, records, present, is_read, declared)"
            " values (:system, :stream, :path, :kinds, :records, :present, true, :declared)"
            " on conflict (system, stream, path) do update set kinds = excluded.kinds, records = excluded.records,"
            " present = excluded.present, is_read = true, declared = excluded.declared, learned_at = now()"
        ),
        [
            {
                "system": system, "stream": stream, "path": path, "kinds": sorted(k.kinds), "records": k.records,
                "present": k.present, "declared": declared,
            }
            for path, k in learned.items()
        ],
    )  # fmt: skip


def note_names(conn: Connection, system: str, stream: str, paths: Iterable[str]) -> list[str]:
    """Notes paths that records have; gives those that were not known."""
    frame = pl.DataFrame({"path": pl.Series(sorted(paths), dtype=pl.String)})
    table = temporary(conn, "paths", {"path": "text"}, frame)
    found = conn.execute(
        text(
            "insert into landing.shape (system, stream, path, kinds, records, present, is_read)"
            f" select :system, :stream, path, '{{}}', 0, 0, false from {table} on conflict do nothing returning path"
        ),
        {"system": system, "stream": stream},
    )
    return sorted(found.scalars())


def forget(conn: Connection, system: str, stream: str, paths: Iterable[str]) -> int:
    """Forgets what places looked like, so that it is learned anew; gives how many were known."""
    found = conn.execute(
        text("delete from landing.shape where system = :system and stream = :stream and path = any(:paths)"),
        {"system": system, "stream": stream, "paths": list(paths)},
    )
    return int(found.rowcount)
