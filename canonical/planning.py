"""Planning: what one target should be told, against what it was told last and what it holds (DESIGN 5.5, 9.5, 9.10-9.15).

One call plans one (entity, target stream) for any number of records, as columns. Frames name a record by `id`, its
canonical id; `<path>` stands for one column per target path. All values are text in the target's own spelling, null
is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

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
MONEY = {"op": pl.String, "currency": pl.String, "moved": pl.Decimal(38, 6), "held": pl.Decimal(38, 6)}
_NO_LINKS = {"id": pl.String, "source_id": pl.String}
_NO_PATHS = {"id": pl.String, "path": pl.String}


def _empty(schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame(schema=schema)


@dataclass(frozen=True)
class PlanInput:
    """Everything one plan is decided from.

    target       the declaration of the target (create, mode, on_leave, on_drift)
    entity       for messages
    paths        the writable target paths, in the order in which fields are shown
    records      (id, version Int64, in_scope Boolean, deleted Boolean)  the golden records to be planned; in_scope is
                 the outcome of `when`, deleted means a tombstone in the entity's system of record
    desired      (id, <paths>)  what the outbound mapping gives; a reference path holds the canonical id it points to
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
    on_delete    the integration's word on golden tombstones
    """

    target: Target
    entity: str
    paths: tuple[str, ...]
    records: pl.DataFrame
    desired: pl.DataFrame
    links: pl.DataFrame = field(default_factory=lambda: _empty(_NO_LINKS))
    shadow: pl.DataFrame = field(default_factory=lambda: _empty({"id": pl.String}))
    native: pl.DataFrame = field(default_factory=lambda: _empty({"id": pl.String}))
    agrees: pl.DataFrame = field(default_factory=lambda: _empty({"id": pl.String}))
    create_only: frozenset[str] = frozenset()
    authority: Mapping[str, str] = field(default_factory=dict)
    refs: Mapping[str, str] = field(default_factory=dict)
    ref_links: pl.DataFrame = field(default_factory=lambda: _empty({"entity": pl.String} | _NO_LINKS))
    deferred: frozenset[str] = frozenset()
    drifted: pl.DataFrame = field(default_factory=lambda: _empty(_NO_PATHS))
    frozen: pl.DataFrame = field(default_factory=lambda: _empty(_NO_PATHS))
    holds: pl.DataFrame = field(default_factory=lambda: _empty({"id": pl.String, "because": pl.String}))
    money: Mapping[str, str] = field(default_factory=dict)
    on_delete: OnDelete = "archive"

    @property
    def where(self) -> str:
        return f"{self.target.system}/{self.target.stream}"


@dataclass(frozen=True)
class Planned:
    """What is to be done, and why.

    writes     one row a write, by id, with the columns of `WRITES`: op create | update | archive | delete; source_id is
               null for a create; fields: the paths sent; changes: JSON list of {field, old, new, authority} as shown to
               people and kept for undo; waits_for: parents that are missing in the target (the whole write waits);
               blanked: fields that this write turns empty; hold: why a person must agree first, null: nobody
    payload    (id, <paths>)  row for row with `writes`: the values to be sent, in the target's spelling
    present    (id, <paths> Boolean)  row for row with `writes`: what is sent at all (a sent null blanks). A path that
               waits for its parent is not present: put the parent's source id there when it is linked, or plan again
    asked      (id, <paths>)  for every write that is a create or update and every adopted record: the whole state to
               be kept as the shadow's `asked` once the write is confirmed (for adopted ones: now)
    adopted    (id, source_id, because)  linked, nothing to write, and no complete shadow yet: set the shadow, read := native
    changes    one row a field sent, with the columns of `CHANGES`: why is new | differs | drift
    findings   columns of `FINDINGS`: kind blank_at_first_link (we have nothing, they have a value: left alone) or
               reopened (archived there, wanted again: nothing is written)
    money      columns of `MONEY`: per operation and currency, sum of |new - old| over the writes, and the sum of |value|
               that all linked records hold there
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


def plan(given: PlanInput) -> Planned:
    """Decide, for every record given, what its target is to be told: see `PlanInput` and `Planned`.

    A create sends every value that is not empty. An update sends a field when what we want differs from what we asked
    last, or when it drifted and is to be restored. At the first link a field is sent only when it has a value that
    differs from what stands there and does not agree in canonical form; an empty one never blanks, but is a finding.
    """
    rows = _decide_fields(given, _gather(given))
    fields = _long(given, rows)
    writes = _writes(given, rows, fields)
    written = writes.select("id").join(rows, on="id", how="left", maintain_order="left")
    asked_rows = rows.filter(pl.col("_op").is_in(["create", "update", "adopt"]))
    return Planned(
        writes=writes,
        payload=written.select("id", *(pl.col(f"want:{p}").alias(p) for p in given.paths)),
        present=written.select("id", *(pl.col(f"send:{p}").alias(p) for p in given.paths)),
        asked=asked_rows.select("id", *(_asked_after(given, p).alias(p) for p in given.paths)),
        adopted=rows.filter(pl.col("_op") == "adopt").select(
            "id", "source_id", pl.lit(f"{given.where} already holds what it should").alias("because")
        ),
        changes=fields,
        findings=_findings(given, rows),
        money=_money(given, rows),
        unchanged=rows.filter(pl.col("_op") == "unchanged").height,
        outside=rows.filter(pl.col("_op") == "outside").height,
    )


def _gather(given: PlanInput) -> pl.DataFrame:
    """One wide row a record: `want:` `wait:` `asked:` `read:` `old:` `agrees:` per path, and what is meant for it."""
    paths = list(given.paths)
    links = given.links.select(
        "id",
        "source_id",
        (pl.col("archived") if "archived" in given.links.columns else pl.lit(False)).alias("_archived"),
    )
    desired = given.desired.select("id", *(pl.col(p).alias(f"want:{p}") for p in paths))
    native = _prefixed(given.native, paths, "native").with_columns(pl.lit(True).alias("_read"))
    agrees = _prefixed(given.agrees, paths, "agrees")
    shadow = given.shadow.with_columns(pl.lit(True).alias("_shadowed"))
    rows = given.records.sort("id")
    for other in (links, desired, shadow, native, agrees):
        rows = rows.join(other, on="id", how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("_archived", "_shadowed", "_read").fill_null(False))
    rows = _with_missing(rows, given, paths)
    return _resolve_references(given, rows).with_columns(_intent(given).alias("_op"))


def _prefixed(frame: pl.DataFrame, paths: list[str], prefix: str) -> pl.DataFrame:
    return frame.select("id", *(pl.col(p).alias(f"{prefix}:{p}") for p in paths if p in frame.columns))


def _with_missing(rows: pl.DataFrame, given: PlanInput, paths: list[str]) -> pl.DataFrame:
    """Give every path all its companion columns, so that what follows needs no cases; `knows:` = was asked before."""
    missing = []
    for path in paths:
        for prefix, kind in (("asked", pl.String), ("read", pl.String), ("native", pl.String), ("agrees", pl.Boolean)):
            if f"{prefix}:{path}" not in rows.columns:
                missing.append(pl.lit(None, dtype=kind).alias(f"{prefix}:{path}"))
        knows = pl.col("_shadowed") if f"asked:{path}" in rows.columns else pl.lit(False)
        if "_asked" in rows.columns:
            knows = knows & pl.col("_asked").list.contains(path).fill_null(False)
        missing.append(knows.alias(f"knows:{path}"))
    rows = rows.with_columns(missing)
    return rows.with_columns(
        pl.when("_read").then(pl.col(f"native:{p}")).otherwise(pl.coalesce(f"read:{p}", f"asked:{p}")).alias(f"old:{p}")
        for p in paths
    )


def _resolve_references(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Turn canonical ids in reference paths into the target's own; `wait:` keeps the ones that have no link there."""
    for path in given.paths:
        if path not in given.refs:
            rows = rows.with_columns(pl.lit(None, dtype=pl.String).alias(f"wait:{path}"))
            continue
        links = given.ref_links.filter(pl.col("entity") == given.refs[path]).select(
            pl.col("id").alias(f"want:{path}"), pl.col("source_id").alias("_theirs")
        )
        rows = rows.join(links, on=f"want:{path}", how="left", maintain_order="left").with_columns(
            pl.when(pl.col("_theirs").is_null()).then(pl.col(f"want:{path}")).alias(f"wait:{path}"),
            pl.col("_theirs").alias(f"want:{path}"),
        )
        rows = rows.drop("_theirs")
    return rows


def _intent(given: PlanInput) -> pl.Expr:
    """The operation a record is up for, before its fields are looked at."""
    target, linked, gone = given.target, pl.col("source_id").is_not_null(), pl.col("deleted")
    on_delete = {"archive": "archive", "delete": "delete", "ask": "archive", "ignore": "unchanged"}[given.on_delete]
    on_leave = {"keep": "update", "archive": "archive", "freeze": "unchanged"}[target.on_leave]
    frozen = pl.col("id").is_in(given.frozen.filter(pl.col("path").is_null())["id"].implode())
    return (
        pl.when(~linked)
        .then(
            pl.when(pl.col("in_scope") & ~gone & pl.lit(target.create))
            .then(pl.lit("create"))
            .otherwise(pl.lit("outside"))
        )
        .when(frozen)
        .then(pl.lit("unchanged"))
        .when(pl.col("_archived"))
        .then(pl.when(pl.col("in_scope") & ~gone).then(pl.lit("reopened")).otherwise(pl.lit("unchanged")))
        .when(gone)
        .then(pl.lit(on_delete))
        .when(~pl.col("in_scope"))
        .then(pl.lit(on_leave))
        .otherwise(pl.lit("update"))
    )


def _decide_fields(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Per path: is it sent, why, does it wait, would it blank at first link; then the operation that is left."""
    decided: list[pl.Expr] = []
    for path in given.paths:
        decided += _decide_field(given, path)
    rows = rows.with_columns(decided)
    paths = given.paths
    anything = pl.any_horizontal(pl.lit(False), *(pl.col(f"why:{p}").is_not_null() for p in paths))
    unknown = pl.any_horizontal(
        ~pl.col("_shadowed"), *(~pl.col(f"knows:{p}") for p in paths if p not in given.create_only)
    )
    is_update = pl.col("_op") == "update"
    return rows.with_columns(
        pl.when(is_update & ~anything)
        .then(pl.when(unknown).then(pl.lit("adopt")).otherwise(pl.lit("unchanged")))
        .otherwise(pl.col("_op"))
        .alias("_op")
    )


def _decide_field(given: PlanInput, path: str) -> list[pl.Expr]:
    want, wait, asked = pl.col(f"want:{path}"), pl.col(f"wait:{path}"), pl.col(f"asked:{path}")
    native, knows = pl.col(f"native:{path}"), pl.col(f"knows:{path}")
    agrees = pl.col(f"agrees:{path}").fill_null(False)
    waiting = wait.is_not_null()
    wanted = want.is_not_null() | waiting
    free = ~pl.col("id").is_in(given.frozen.filter(pl.col("path") == path)["id"].implode())
    if path in given.deferred:
        free = free & ~waiting
    governed = pl.lit(path not in given.create_only) & free
    drifted = pl.col("id").is_in(given.drifted.filter(pl.col("path") == path)["id"].implode())
    is_create, is_update = pl.col("_op") == "create", pl.col("_op") == "update"
    at_first = wanted & want.ne_missing(native) & ~agrees
    why = (
        pl.when(is_create & wanted & free)
        .then(pl.lit("new"))
        .when(is_update & governed & knows & want.ne_missing(asked))
        .then(pl.lit("differs"))
        .when(is_update & governed & knows & drifted)
        .then(pl.lit("drift"))
        .when(is_update & governed & ~knows & at_first)
        .then(pl.lit("differs"))
    )
    blank = is_update & governed & ~knows & ~wanted & native.is_not_null() & ~agrees
    return [
        why.alias(f"why:{path}"),
        (why.is_not_null() & ~waiting).alias(f"send:{path}"),
        blank.alias(f"blank:{path}"),
        free.alias(f"free:{path}"),
    ]


def _asked_after(given: PlanInput, path: str) -> pl.Expr:
    """The shadow's `asked` once this is confirmed: what we want, save where the field was left alone."""
    kept = pl.col("_op") != "create" if path in given.create_only else ~pl.col(f"free:{path}")
    return pl.when(kept).then(pl.col(f"asked:{path}")).otherwise(pl.col(f"want:{path}"))


def _long(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    """One row a field that is sent (or waits to be), in the order of paths within a record."""
    parts = [
        rows.filter(pl.col(f"why:{path}").is_not_null()).select(
            "id",
            pl.col("_op").alias("op"),
            pl.lit(path).alias("path"),
            pl.col(f"old:{path}").alias("old"),
            pl.coalesce(f"want:{path}", f"wait:{path}").alias("new"),
            pl.lit(given.authority.get(path, "")).alias("authority"),
            pl.col(f"why:{path}").alias("why"),
        )
        for path in given.paths
    ]
    return pl.concat([_empty(CHANGES), *parts]).sort("id", maintain_order=True)


def _writes(given: PlanInput, rows: pl.DataFrame, fields: pl.DataFrame) -> pl.DataFrame:
    ops = rows.filter(pl.col("_op").is_in(["create", "update", "archive", "delete"]))
    told = fields.group_by("id", maintain_order=True).agg(
        pl.col("path").alias("fields"),
        pl.struct(pl.col("path").alias("field"), "old", "new", "authority")
        .struct.json_encode()
        .str.join(",")
        .alias("_json"),
        pl.col("path").filter(pl.col("why") == "drift").alias("_restored"),
    )
    waits = [
        pl.when(pl.col(f"wait:{p}").is_not_null() & pl.col(f"why:{p}").is_not_null()).then(
            pl.struct(pl.lit(p).alias("path"), pl.lit(e).alias("entity"), pl.col(f"wait:{p}").alias("id"))
        )
        for p, e in given.refs.items()
        if p in given.paths
    ]
    blanks = [
        (pl.col(f"send:{p}") & pl.col(f"want:{p}").is_null() & (pl.col("_op") == "update")).cast(pl.UInt32)
        for p in given.paths
    ]
    asked_for = given.holds.group_by("id").agg(pl.col("because").str.join("; ").alias("_asked_for"))
    ops = ops.join(told, on="id", how="left", maintain_order="left").join(
        asked_for, on="id", how="left", maintain_order="left"
    )
    waits_for = pl.concat_list(waits).list.drop_nulls() if waits else pl.lit([], dtype=pl.List(WAIT))
    return ops.select(
        "id",
        pl.col("_op").alias("op"),
        "source_id",
        pl.col("version").cast(pl.Int64),
        pl.col("fields").fill_null(pl.lit([], dtype=pl.List(pl.String))),
        pl.format("[{}]", pl.col("_json").fill_null("")).alias("changes"),
        waits_for.alias("waits_for"),
        reduce(lambda a, b: a + b, blanks, pl.lit(0, dtype=pl.UInt32)).alias("blanked"),
        _hold(given).alias("hold"),
        _because(given).alias("because"),
    )


def _hold(given: PlanInput) -> pl.Expr:
    """Why a person must agree before the write, all reasons joined; null where nobody need."""
    nothing = pl.lit(None, dtype=pl.String)
    is_delete = pl.col("_op") == "delete"
    asks = pl.col("deleted") & (pl.col("_op") == "archive") & pl.lit(given.on_delete == "ask")
    reasons = [
        pl.lit(f"{given.where} asks before every write") if given.target.mode == "ask" else nothing,
        pl.when(is_delete).then(pl.lit("a hard delete cannot be undone")),
        pl.when(asks).then(pl.lit("deleted in its system of record; the integration asks before it archives")),
        pl.col("_asked_for"),
    ]
    joined = pl.concat_str(reasons, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)


def _because(given: PlanInput) -> pl.Expr:
    names = pl.col("fields").list.join(", ")
    restored = pl.col("_restored").list.len() > 0
    return (
        pl.when(pl.col("_op") == "create")
        .then(pl.lit(f"no record of this {given.entity} is linked in {given.where}"))
        .when((pl.col("_op") == "update") & restored)
        .then(
            pl.format(
                "changed in {}, put back: {}; sent: {}",
                pl.lit(given.target.system),
                pl.col("_restored").list.join(", "),
                names,
            )
        )
        .when(pl.col("_op") == "update")
        .then(pl.format("differs: {}", names))
        .when(pl.col("deleted"))
        .then(pl.lit(f"the {given.entity} was deleted in its system of record"))
        .otherwise(pl.lit(f"the {given.entity} no longer meets: {given.target.when}"))
    )


def _findings(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    reopened = rows.filter(pl.col("_op") == "reopened").select(
        "id", "source_id", pl.lit("reopened").alias("kind"), *(pl.lit(None, dtype=pl.String).alias(c) for c in ("path", "ours", "theirs")),
        pl.lit(f"archived in {given.where}, but wanted there again: reopen it there").alias("because"),
    )  # fmt: skip
    blanks = [
        rows.filter(pl.col(f"blank:{path}")).select(
            "id", "source_id", pl.lit("blank_at_first_link").alias("kind"), pl.lit(path).alias("path"),
            pl.lit(None, dtype=pl.String).alias("ours"), pl.col(f"native:{path}").alias("theirs"),
            pl.lit(f"{given.authority.get(path, 'we')} has no value, {given.where} has one: left alone at first link").alias("because"),
        )
        for path in given.paths
    ]  # fmt: skip
    return pl.concat([_empty(FINDINGS), reopened, *blanks]).sort("id", maintain_order=True)


def _money(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Per operation and currency: how far the writes move money, and how much the linked records hold."""
    moved, held = [], []
    for path, currency in given.money.items():
        if path not in given.paths:
            continue
        code = _currency(currency, "want")
        old, new = (
            pl.col(f"{side}:{path}").cast(pl.Decimal(38, 6), strict=False).fill_null(0) for side in ("old", "want")
        )
        sent = rows.filter(pl.col(f"send:{path}"))
        moved.append(sent.select(pl.col("_op").alias("op"), code.alias("currency"), (new - old).abs().alias("moved")))
        linked = rows.filter(pl.col("source_id").is_not_null())
        held.append(linked.select(_currency(currency, "old").alias("currency"), old.abs().alias("held")))
    if not moved:
        return _empty(MONEY)
    by_currency = pl.concat(held).group_by("currency").agg(pl.col("held").sum())
    total = pl.concat(moved).group_by("op", "currency").agg(pl.col("moved").sum())
    joined = total.join(by_currency, on="currency", how="left", nulls_equal=True)
    return joined.select(pl.col(c).cast(t) for c, t in MONEY.items()).fill_null(0).sort("op", "currency")


def _currency(declared: str, side: str) -> pl.Expr:
    if declared.startswith("path:"):
        return pl.col(f"{side}:{declared.removeprefix('path:')}")
    return pl.lit(declared)
