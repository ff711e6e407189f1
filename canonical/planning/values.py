"""What a plan is decided from, and what it says: frames by column, one row a record (`id` is the canonical id)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from canonical.landscape import Target

Op = Literal["create", "update", "archive", "delete"]
OnDelete = Literal["archive", "delete", "ignore", "ask"]

WAIT = pl.Struct({"path": pl.String, "entity": pl.String, "id": pl.String})
"""One missing parent: the reference path, the entity it points to, and the canonical id that has no link there yet."""
WRITES = {
    "id": pl.String,
    "op": pl.String,
    "source_id": pl.String,
    "version": pl.Int64,
    "fields": pl.List(pl.String),
    "changes": pl.String,
    "waits_for": pl.List(WAIT),
    "blanked": pl.UInt32,
    "hold": pl.String,
    "because": pl.String,
}
FINDINGS = {
    "id": pl.String,
    "source_id": pl.String,
    "kind": pl.String,
    "path": pl.String,
    "ours": pl.String,
    "theirs": pl.String,
    "because": pl.String,
}
CHANGES = {
    "id": pl.String,
    "op": pl.String,
    "path": pl.String,
    "old": pl.String,
    "new": pl.String,
    "authority": pl.String,
    "why": pl.String,
}
MONEY: dict[str, Any] = {"op": pl.String, "currency": pl.String, "moved": pl.Decimal(38, 6), "held": pl.Decimal(38, 6)}
_NO_LINKS = {"id": pl.String, "source_id": pl.String}
_NO_PATHS = {"id": pl.String, "path": pl.String}


def empty(schema: Mapping[str, Any]) -> pl.DataFrame:
    """A frame of that schema without rows."""
    return pl.DataFrame(schema=schema)


@dataclass(frozen=True)
class PlanInput:
    """Everything one plan is decided from.

    target       the declaration of the target (create, mode, on_leave, on_drift)
    entity       for messages
    paths        the writable target paths, in the order in which fields are shown
    records      (id, version Int64, in_scope Boolean, deleted Boolean)  the golden records to be planned; in_scope is
                 the outcome of `when`, deleted means a tombstone in the entity's system of record
    desired      (id, <paths>)  what the outbound mapping gives; a reference path holds the canonical id it points to.
                 A record without a row here is neither created nor updated
    links        (id, source_id[, archived Boolean])  primary links of these records in the target stream; archived:
                 our archive of it was confirmed
    shadow       (id, "asked:<path>" …, "read:<path>" …[, "_asked" List(String)])  what we asked last and what it read
                 back. A path that is not among the columns, or not in the row's `_asked`, was never asked
    native       (id, <paths>)  what the target holds as last read; no row: never read
    agrees       (id, <paths> Boolean)  the target's own staged value equals the golden one in canonical form, however
                 either is spelled; null or no row: not known to agree
    create_only  paths whose system of record is the target itself: sent with a create, never with an update
    authority    path → system of record, for the reasons shown; a path that is not named shows ""
    refs         reference path → entity it points to
    ref_links    (entity, id, source_id)  links of the entities in `refs` in the target system
    deferred     reference paths that a write may leave out while their parent is missing (a cycle in two steps)
    drifted      (id, path)  fields to be restored, from `drift.find`
    frozen       (id, path)  fields that flip too often and are left alone (P16); path null: the whole record
    holds        (id, because)  records whose writes wait for a person (`ask_when`)
    money        money path → currency code, or `path:OTHER` when another path of the write holds the code
    currencies   paths that carry a currency: one that changes where a value stood waits for a person
    on_delete    the integration's word on golden tombstones
    """

    target: Target
    entity: str
    paths: tuple[str, ...]
    records: pl.DataFrame
    desired: pl.DataFrame
    links: pl.DataFrame = field(default_factory=lambda: empty(_NO_LINKS))
    shadow: pl.DataFrame = field(default_factory=lambda: empty({"id": pl.String}))
    native: pl.DataFrame = field(default_factory=lambda: empty({"id": pl.String}))
    agrees: pl.DataFrame = field(default_factory=lambda: empty({"id": pl.String}))
    create_only: frozenset[str] = frozenset()
    authority: Mapping[str, str] = field(default_factory=dict)
    refs: Mapping[str, str] = field(default_factory=dict)
    ref_links: pl.DataFrame = field(default_factory=lambda: empty({"entity": pl.String} | _NO_LINKS))
    deferred: frozenset[str] = frozenset()
    drifted: pl.DataFrame = field(default_factory=lambda: empty(_NO_PATHS))
    frozen: pl.DataFrame = field(default_factory=lambda: empty(_NO_PATHS))
    holds: pl.DataFrame = field(default_factory=lambda: empty({"id": pl.String, "because": pl.String}))
    money: Mapping[str, str] = field(default_factory=dict)
    currencies: frozenset[str] = frozenset()
    on_delete: OnDelete = "archive"

    @property
    def where(self) -> str:
        return f"{self.target.system}/{self.target.stream}"


@dataclass(frozen=True)
class Planned:
    """What is to be done, and why.

    writes     one row a write, by id, with the columns of `WRITES`: op create | update | archive | delete; source_id is
               null for a create; fields: the paths sent; changes: JSON list of {field, old, new, authority} as shown to
               people and kept for undo, null for a create that waits for nothing (all it asks for is new); waits_for:
               parents that are missing in the target (the whole write waits); blanked: fields that this write turns
               empty; hold: why a person must agree first, null: nobody
    payload    (id, <paths>)  row for row with `writes`: the values to be sent, in the target's spelling
    present    (id, <paths> Boolean)  row for row with `writes`: what is sent at all (a sent null blanks). A path that
               waits for its parent is not present: when the parent is linked plan again, or put its source id there
               (and in `asked`)
    asked      (id, <paths>)  for every write that is a create or update and every adopted record: the whole state to
               be kept as the shadow's `asked` once the write is confirmed (for adopted ones: now)
    adopted    (id, source_id, because)  linked, nothing to write, and no complete shadow yet: set the shadow now,
               with `read` := native
    changes    one row a field that an update sends, with the columns of `CHANGES`: why is differs | drift
    findings   columns of `FINDINGS`: kind blank_at_first_link (we have nothing, they have a value: left alone) or
               reopened (archived there, wanted again: nothing is written)
    money      columns of `MONEY`: per operation and currency, sum of |new - old| over the writes, and the sum of
               |value| that all linked records hold there
    unchanged  records that are linked, in order, and need nothing
    outside    records that are not linked and are not to be created (out of scope, deleted, create not allowed)
    """

    writes: pl.DataFrame
    payload: pl.DataFrame
    present: pl.DataFrame
    asked: pl.DataFrame
    adopted: pl.DataFrame
    changes: pl.DataFrame
    findings: pl.DataFrame
    money: pl.DataFrame
    unchanged: int
    outside: int
