"""The plan: writes with their reasons, the shadow to keep, findings, and what they move."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import polars as pl

from canonical import met
from canonical.planning import fields
from canonical.planning.values import CHANGES, FINDINGS, MONEY, WAIT, PlanInput, Planned, empty

CURRENCY_CHANGES = "the currency changes"
"""How the reason of a hold begins that stands for a change of currency alone."""


def plan(given: PlanInput) -> Planned:
    """Decide, for every record given, what its target is to be told: see `PlanInput` and `Planned`.

    A create sends every value that is not empty. An update sends a field when what we want differs from what we asked
    last, or when it drifted and is to be restored. At the first link a field is sent only when it has a value that
    differs from what stands there and does not agree in canonical form; an empty one never blanks, but is a finding.
    """
    rows = fields.decide(given, fields.gather(given))
    told = _long(given, rows)
    writes = _writes(given, rows)
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
        changes=told,
        findings=_findings(given, rows),
        money=_money(given, rows),
        unchanged=rows.filter(pl.col("_op") == "unchanged").height,
        outside=rows.filter(pl.col("_op") == "outside").height,
    )


def _asked_after(given: PlanInput, path: str) -> pl.Expr:
    """The shadow's `asked` once this is confirmed: what we want, save where the field was left alone."""
    kept = pl.col("_op") != "create" if path in given.create_only else ~pl.col(f"free:{path}")
    return pl.when(kept).then(pl.col(f"asked:{path}")).otherwise(pl.col(f"want:{path}"))


def _long(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    """One row a field that an update sends (or that waits to be sent), in the order of paths within a record."""
    rows = rows.filter(pl.col("_op") != "create")
    sent = {path: pl.col(f"why:{path}").is_not_null() for path in given.paths}
    parts = [
        found.select(
            "id",
            pl.col("_op").alias("op"),
            pl.lit(path).alias("path"),
            pl.col(f"old:{path}").alias("old"),
            pl.coalesce(f"want:{path}", f"wait:{path}").alias("new"),
            pl.lit(given.authority.get(path, "")).alias("authority"),
            pl.col(f"why:{path}").alias("why"),
        )
        for path, found in met.rows_meeting(rows, sent)
    ]
    return pl.concat([empty(CHANGES), *parts]).sort("id", maintain_order=True)


def _writes(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    ops = rows.filter(pl.col("_op").is_in(["create", "update", "archive", "delete"]))
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
    waits_for = pl.concat_list(waits).list.drop_nulls() if waits else pl.lit([], dtype=pl.List(WAIT))
    ops = ops.join(asked_for, on="id", how="left", maintain_order="left").with_columns(
        waits_for.alias("waits_for"),
        _paths_with(given, lambda why: why.is_not_null()).alias("fields"),
        _paths_with(given, lambda why: why == "drift").alias("_restored"),
    )
    is_whole = (pl.col("_op") == "create") & (pl.col("waits_for").list.len() == 0)
    told = ops.filter(~is_whole).select("id", _changes_json(given).alias("changes"))
    ops = ops.join(told, on="id", how="left", maintain_order="left")
    return ops.select(
        "id",
        pl.col("_op").alias("op"),
        "source_id",
        pl.col("version").cast(pl.Int64),
        "fields",
        "changes",
        "waits_for",
        reduce(lambda a, b: a + b, blanks, pl.lit(0, dtype=pl.UInt32)).alias("blanked"),
        _hold(given).alias("hold"),
        _because(given).alias("because"),
    )


def _paths_with(given: PlanInput, holds: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """The paths, in their order, for which it holds of why they are sent."""
    if not given.paths:
        return pl.lit([], dtype=pl.List(pl.String))
    named = [pl.when(holds(pl.col(f"why:{path}"))).then(pl.lit(path)) for path in given.paths]
    return pl.concat_list(named).list.drop_nulls()


def _changes_json(given: PlanInput) -> pl.Expr:
    """What is sent, as the JSON list that people are shown: field, old, new, authority."""
    told = [
        pl.when(pl.col(f"why:{path}").is_not_null()).then(
            pl.struct(
                pl.lit(path).alias("field"),
                pl.col(f"old:{path}").alias("old"),
                pl.coalesce(f"want:{path}", f"wait:{path}").alias("new"),
                pl.lit(given.authority.get(path, "")).alias("authority"),
            ).struct.json_encode()
        )
        for path in given.paths
    ]
    return pl.format("[{}]", pl.concat_str(told, separator=",", ignore_nulls=True) if told else pl.lit(""))


def _hold(given: PlanInput) -> pl.Expr:
    """Why a person must agree before the write, all reasons joined; null where nobody need."""
    nothing = pl.lit(None, dtype=pl.String)
    is_delete = pl.col("_op") == "delete"
    asks = pl.col("deleted") & (pl.col("_op") == "archive") & pl.lit(given.on_delete == "ask")
    reasons = [
        pl.lit(f"{given.where} asks before every write") if given.target.mode == "ask" else nothing,
        pl.when(is_delete).then(pl.lit("a hard delete cannot be undone")),
        pl.when(asks).then(pl.lit("deleted in its system of record; the integration asks before it archives")),
        *(_other_currency(path) for path in given.paths if path in given.currencies),
        pl.col("_asked_for"),
    ]
    joined = pl.concat_str(reasons, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)


def _other_currency(path: str) -> pl.Expr:
    """An amount that is said to be in another currency than it was is another amount (RELIABILITY, input 26)."""
    old, want = pl.col(f"old:{path}"), pl.col(f"want:{path}")
    changes = (pl.col("_op") == "update") & pl.col(f"send:{path}") & old.is_not_null() & old.ne_missing(want)
    told = pl.format("{}: {} from {} to {}", pl.lit(CURRENCY_CHANGES), pl.lit(path), old, want.fill_null("nothing"))
    return pl.when(changes).then(told)


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
    nothing = pl.lit(None, dtype=pl.String)
    reopened = rows.filter(pl.col("_op") == "reopened").select(
        "id",
        "source_id",
        pl.lit("reopened").alias("kind"),
        nothing.alias("path"),
        nothing.alias("ours"),
        nothing.alias("theirs"),
        pl.lit(f"archived in {given.where}, but wanted there again: reopen it there").alias("because"),
    )
    left_alone = {path: pl.col(f"blank:{path}") for path in given.paths}
    blanks = [
        found.select(
            "id",
            "source_id",
            pl.lit("blank_at_first_link").alias("kind"),
            pl.lit(path).alias("path"),
            nothing.alias("ours"),
            pl.col(f"native:{path}").alias("theirs"),
            pl.lit(f"we have no value, {given.where} has one: left alone at first link").alias("because"),
        )
        for path, found in met.rows_meeting(rows, left_alone)
    ]
    return pl.concat([empty(FINDINGS), reopened, *blanks]).sort("id", maintain_order=True)


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
        return empty(MONEY)
    by_currency = pl.concat(held).group_by("currency").agg(pl.col("held").sum())
    total = pl.concat(moved).group_by("op", "currency").agg(pl.col("moved").sum())
    joined = total.join(by_currency, on="currency", how="left", nulls_equal=True)
    return joined.select(pl.col(c).cast(t) for c, t in MONEY.items()).fill_null(0).sort("op", "currency")


def _currency(declared: str, side: str) -> pl.Expr:
    if declared.startswith("path:"):
        return pl.col(f"{side}:{declared.removeprefix('path:')}")
    return pl.lit(declared)
