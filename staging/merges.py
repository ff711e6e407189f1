"""Merges of golden records: a person's word that two are one, with the links that moved, so that it can be undone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, text

from canonical.merge import Link
from canonical.model import Entity
from staging import audit
from staging.frames import ident, temporary
from staging.golden import golden_table
from staging.staged import staged_table


def standing(conn: Connection, entity: str) -> dict[str, str]:
    """Loser → winner of every merge that was not undone."""
    found = conn.execute(
        text("select loser, winner from ops.merge where entity = :e and undone_at is null"), {"e": entity}
    )
    return {str(r.loser): str(r.winner) for r in found}


def one(conn: Connection, entity: str, loser: str) -> Mapping[str, Any] | None:
    """The merge that stands of a loser."""
    found = conn.execute(
        text("select * from ops.merge where entity = :e and loser = :l and undone_at is null"),
        {"e": entity, "l": loser},
    ).mappings()
    row = found.one_or_none()
    return dict(row) if row else None


def listed(conn: Connection, entity: str | None = None, *, is_all: bool = False) -> list[dict[str, Any]]:
    """Merges, the latest first: those that stand, or all there ever were."""
    found = conn.execute(
        text(
            "select * from ops.merge where (cast(:e as text) is null or entity = :e) and (:all or undone_at is null)"
            " order by id desc"
        ),
        {"e": entity, "all": is_all},
    ).mappings()
    return [dict(r) for r in found]


def links_of(conn: Connection, entity: str, canonical_id: str) -> list[Link]:
    """The live links of a golden record."""
    found = conn.execute(
        text(
            "select system, stream, source_id, is_primary from ops.crosswalk where entity = :e and canonical_id = :c"
            " and ended_at is null order by id"
        ),
        {"e": entity, "c": canonical_id},
    )
    return [Link(r.system, r.stream, r.source_id, r.is_primary) for r in found]


def holders(conn: Connection, entity: str, links: Sequence[Link]) -> dict[Link, str]:
    """Who holds these records now."""
    found: dict[Link, str] = {}
    for link in links:
        holder = conn.execute(
            text(
                "select canonical_id from ops.crosswalk where entity = :e and system = :s and stream = :t"
                " and source_id = :i and ended_at is null"
            ),
            {"e": entity, "s": link.system, "t": link.stream, "i": link.source_id},
        ).scalar_one_or_none()
        if holder is not None:
            found[link] = str(holder)
    return found


def move(
    conn: Connection, entity: Entity, links: Sequence[tuple[Link, bool]], to: str, *, by: str, because: str
) -> None:
    """Ends the live links of these records and begins others to `to` (each with whether it is the primary one); what
    was known of their targets is known of the new pair, and they are resolved anew."""
    frame = pl.DataFrame(
        [(link.system, link.stream, link.source_id, is_primary) for link, is_primary in links],
        schema={"system": pl.String, "stream": pl.String, "source_id": pl.String, "is_primary": pl.Boolean},
        orient="row",
    )
    columns = {"system": "text", "stream": "text", "source_id": "text", "is_primary": "boolean"}
    table = temporary(conn, "moved", columns, frame)
    same = "c.entity = :e and c.system = m.system and c.stream = m.stream and c.source_id = m.source_id"
    values = {"e": entity.name, "to": to, "by": by, "because": because}
    conn.execute(
        text(
            f"delete from ops.shadow h using ops.crosswalk c, {table} m where {same} and c.ended_at is null"
            " and h.entity = c.entity and h.system = c.system and h.stream = c.stream"
            " and h.canonical_id = c.canonical_id and h.source_id = c.source_id"
        ),
        values,
    )
    conn.execute(
        text(
            f"update ops.crosswalk c set ended_at = now(), ended_because = :because from {table} m where {same}"
            " and c.ended_at is null"
        ),
        values,
    )
    conn.execute(
        text(
            "insert into ops.crosswalk (entity, system, stream, source_id, canonical_id, is_primary, because,"
            f" linked_by) select :e, system, stream, source_id, :to, is_primary, :because, :by from {table}"
        ),
        values,
    )


def resolve_again(conn: Connection, entity: Entity, canonical_ids: Sequence[str]) -> int:
    """Puts the records that are linked to these golden records back to work."""
    found = conn.execute(
        text(
            f"update {staged_table(entity)} s set state = 'dirty' from ops.crosswalk c where c.entity = :e"
            " and c.canonical_id = any(:ids) and c.ended_at is null and s.system = c.system and s.stream = c.stream"
            " and s.source_id = c.source_id and s.state = 'resolved'"
        ),
        {"e": entity.name, "ids": list(canonical_ids)},
    )
    return int(found.rowcount)


def pointing(conn: Connection, entity: Entity, reference: str, canonical_ids: Sequence[str]) -> list[str]:
    """Golden records of `entity` whose `reference` (a column, or LIST.FIELD) is one of these."""
    field, _, inner = reference.rpartition(".")
    held = ident("golden", f"{entity.name}_{field}" if field else entity.name)
    found = conn.execute(
        text(f"select distinct id from {held} where {ident(inner)} = any(:ids)"), {"ids": list(canonical_ids)}
    )
    return [str(i) for i in found.scalars()]


def set_deleted(
    conn: Connection, entity: Entity, canonical_id: str, *, is_deleted: bool, because: str, declared: str
) -> None:
    """A new version of a golden record that is gone, or back, by a person's word, with its place in history."""
    version = conn.execute(
        text(
            f"update {golden_table(entity)} set deleted = :deleted, version = version + 1, updated_at = now()"
            " where id = :id returning version"
        ),
        {"id": canonical_id, "deleted": is_deleted},
    ).scalar_one()
    changes = [{"new": {}, "old": {}, "because": because}]
    conn.execute(
        text(
            "insert into golden.history (entity, canonical_id, version, declared, changes)"
            " values (:e, :c, :v, :d, cast(:changes as json))"
        ),
        {"e": entity.name, "c": canonical_id, "v": version, "d": declared, "changes": json.dumps(changes)},
    )


def note(conn: Connection, entity: str, winner: str, loser: str, links: Sequence[Link], *, by: str, reason: str) -> int:
    """Keeps the merge, with the links that moved; gives its id."""
    told = [[link.system, link.stream, link.source_id, link.is_primary] for link in links]
    found = conn.execute(
        text(
            "insert into ops.merge (entity, loser, winner, by, reason, links)"
            " values (:e, :l, :w, :by, :reason, cast(:links as json)) returning id"
        ),
        {"e": entity, "l": loser, "w": winner, "by": by, "reason": reason, "links": json.dumps(told)},
    )
    merge_id = int(found.scalar_one())
    audit.append(conn, by, "record.merged", f"{entity}:{loser}", {"into": winner, "links": len(links)}, reason=reason)
    return merge_id


def moved_links(merge: Mapping[str, Any]) -> list[Link]:
    """The links that a merge moved, as they were before."""
    return [Link(*each) for each in merge["links"]]


def end(conn: Connection, merge: Mapping[str, Any], *, by: str, reason: str) -> None:
    """Closes a merge as undone."""
    conn.execute(
        text("update ops.merge set undone_at = now(), undone_by = :by, undone_because = :reason where id = :id"),
        {"id": merge["id"], "by": by, "reason": reason},
    )
    detail = {"from": merge["winner"], "merge": merge["id"]}
    audit.append(conn, by, "record.unmerged", f"{merge['entity']}:{merge['loser']}", detail, reason=reason)
