"""One golden record's story: every system's version, which value won and why, every write it caused, what is open."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from canonical import survivorship
from canonical.model import Entity
from staging import crosswalk, golden, reports, staged
from staging.engine import Connection
from tasks.resolve import resolve_references
from tasks.world import World

LABELS = ("name", "number", "sku", "reference", "last_name", "email")
"""Fields by which a person recognises a record, the best first."""


@dataclass(frozen=True)
class Story:
    """Everything we know of one golden record."""

    entity: str
    canonical_id: str
    label: str
    version: int
    is_deleted: bool
    provisional: list[str]
    """Fields whose system of record has not spoken yet: another system's value stands in."""
    owner: str
    fields: list[dict[str, Any]]
    """Field by field: values, the reason, and every linked record's claim (canonical.survivorship.FieldStory)."""
    links: list[dict[str, Any]]
    """The crosswalk, ended links too: system, stream, source_id, is_primary, because, score, linked_by, linked_at …"""
    history: list[dict[str, Any]]
    writes: list[dict[str, Any]]
    """Every write it caused, in order, each with its `tries`."""
    open: list[dict[str, Any]] = field(default_factory=list)
    """What waits for a person about it: queue, id, opened_at, owner, what."""
    labels: list[dict[str, str]] = field(default_factory=list)
    """What a person calls the records that references point to: canonical_id, label."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Unlinked:
    """A source record that belongs to no golden record (yet)."""

    entity: str
    record: str
    state: str
    values: dict[str, str | None]
    open: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def label_of(entity: Entity, row: dict[str, Any]) -> str:
    """What a person calls the record; its id where it has no name."""
    return next((str(row[c]) for c in LABELS if c in entity.columns and row.get(c)), str(row.get("id") or ""))


def found(conn: Connection, entity: Entity, what: str) -> list[tuple[str, str]]:
    """The golden records that a person may mean, as (canonical id, label)."""
    ids = pl.DataFrame({"canonical_id": pl.Series(golden.find(conn, entity, what), dtype=pl.String)})
    if ids.is_empty():
        return []
    return [(row["id"], label_of(entity, row)) for row in golden.read(conn, entity, ids).iter_rows(named=True)]


def unlinked(conn: Connection, entity: Entity, what: str) -> Unlinked | None:
    """The source record SYSTEM/STREAM/ID as far as it came, where it is linked to nothing."""
    parts = what.split("/", 2)
    if len(parts) != 3:
        return None
    rows = staged.one(conn, entity, *parts)
    waits = reports.open_entries_of_record(conn, entity.name, *parts)
    if rows.is_empty() and not waits:
        return None
    row = rows.row(0, named=True) if rows.height else {}
    values = {leaf.path: row[leaf.column] for leaf in entity.leaves if row.get(leaf.column) is not None}
    state = "gone from its system" if row.get("deleted") else str(row.get("state") or "never passed its rules")
    return Unlinked(entity.name, what, state, values, waits)


def explain(conn: Connection, world: World, entity: Entity, canonical_id: str) -> Story:
    """The story of one golden record, which exists. Decided again by the very code of a sync; changes nothing."""
    asked = pl.DataFrame({"canonical_id": [canonical_id]})
    current = golden.read(conn, entity, asked)
    row = current.row(0, named=True)
    linked = staged.linked(conn, entity, asked).with_columns(
        pl.concat_str("system", "stream", "source_id", separator="\x1f").alias("key")
    )
    linked, _ = resolve_references(conn, world, entity, linked)
    primary = linked.filter(pl.col("is_primary"))
    fields = survivorship.explain(primary, entity, world.mapped(entity), current) if primary.height else []
    return Story(
        entity=entity.name,
        canonical_id=canonical_id,
        label=label_of(entity, row),
        version=int(row["version"]),
        is_deleted=bool(row["deleted"]),
        provisional=sorted(row["provisional"] or []),
        owner=world.owner_of(entity),
        fields=[asdict(f) for f in fields],
        links=crosswalk.all_links(conn, canonical_id),
        history=golden.history_of(conn, entity.name, canonical_id),
        writes=_writes(conn, entity, canonical_id),
        open=reports.open_entries_of(conn, entity.name, canonical_id),
        labels=_labels(conn, world, entity, pl.concat([linked.select(entity.columns), current.select(entity.columns)])),
    )


def _labels(conn: Connection, world: World, entity: Entity, rows: pl.DataFrame) -> list[dict[str, str]]:
    """What the records that these rows refer to are called."""
    found: dict[str, str] = {}
    for column, target in entity.references.items():
        named = next((c for c in LABELS if c in world.landscape.model[target].columns), None)
        ids = rows[column].drop_nulls().unique().to_list()
        if named and ids:
            found |= dict(golden.values(conn, target, named, ids).drop_nulls().iter_rows())
    return [{"canonical_id": i, "label": label} for i, label in sorted(found.items())]


def _writes(conn: Connection, entity: Entity, canonical_id: str) -> list[dict[str, Any]]:
    writes = reports.writes_of(conn, entity.name, canonical_id)
    tries = reports.attempts_of(conn, [w["id"] for w in writes])
    return [{**w, "tries": [t for t in tries if t["outbox_id"] == w["id"]]} for w in writes]
