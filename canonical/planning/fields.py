"""Per record and target path: what is wanted, what stands there, and is it sent; the operation that is left."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from canonical.planning.values import PlanInput


def gather(given: PlanInput) -> pl.DataFrame:
    """One wide row a record: `want:` `wait:` `asked:` `read:` `old:` `agrees:` per path, and what is meant for it."""
    paths = list(given.paths)
    links = given.links.select(
        "id",
        "source_id",
        (pl.col("archived") if "archived" in given.links.columns else pl.lit(False)).alias("_archived"),
    )
    desired = given.desired.select("id", pl.lit(True).alias("_told"), *(pl.col(p).alias(f"want:{p}") for p in paths))
    native = _prefixed(given.native, paths, "native").with_columns(pl.lit(True).alias("_read"))
    agrees = _prefixed(given.agrees, paths, "agrees")
    shadow = given.shadow.with_columns(pl.lit(True).alias("_shadowed"))
    rows = given.records.sort("id")
    for other in (links, desired, shadow, native, agrees):
        rows = rows.join(other, on="id", how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("_archived", "_shadowed", "_read", "_told", "in_scope", "deleted").fill_null(False))
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
    nothing = pl.lit(None, dtype=pl.String)
    rows = rows.with_columns(nothing.alias(f"wait:{path}") for path in given.paths if path not in given.refs)
    for path in given.paths:
        if path not in given.refs:
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


def decide(given: PlanInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Per path: is it sent, why, does it wait, would it blank at first link; then the operation that is left."""
    frozen, drifted = _ids_by_path(given.frozen), _ids_by_path(given.drifted)
    decided: list[pl.Expr] = []
    for path in given.paths:
        decided += _decide_field(given, path, _is_one_of(frozen.get(path)), _is_one_of(drifted.get(path)))
    rows = rows.with_columns(decided)
    paths = given.paths
    anything = pl.any_horizontal(pl.lit(False), *(pl.col(f"why:{p}").is_not_null() for p in paths))
    unknown = pl.any_horizontal(
        ~pl.col("_shadowed"),
        *(~pl.col(f"knows:{p}") | pl.col(f"late:{p}") for p in paths if p not in given.create_only),
    )
    is_update = pl.col("_op") == "update"
    return rows.with_columns(
        pl.when(is_update & ~anything)
        .then(pl.when(unknown & pl.col("_told")).then(pl.lit("adopt")).otherwise(pl.lit("unchanged")))
        .when((pl.col("_op") == "create") & ~anything)
        .then(pl.lit("outside"))
        .otherwise(pl.col("_op"))
        .alias("_op")
    )


def _ids_by_path(named: pl.DataFrame) -> dict[str | None, list[str]]:
    """(id, path) as path → ids."""
    return {} if named.is_empty() else dict(named.group_by("path").agg("id").iter_rows())


def _is_one_of(ids: Sequence[str] | None) -> pl.Expr:
    return pl.col("id").is_in(ids) if ids else pl.lit(False)


def _decide_field(given: PlanInput, path: str, is_frozen: pl.Expr, is_drifted: pl.Expr) -> list[pl.Expr]:
    want, wait, asked = pl.col(f"want:{path}"), pl.col(f"wait:{path}"), pl.col(f"asked:{path}")
    native, knows = pl.col(f"native:{path}"), pl.col(f"knows:{path}")
    agrees = pl.col(f"agrees:{path}").fill_null(False)
    waiting = wait.is_not_null()
    wanted = want.is_not_null() | waiting
    free = pl.col("_told") & ~is_frozen
    if path in given.deferred:
        free = free & ~waiting
    governed = pl.lit(path not in given.create_only) & free
    is_create, is_update = pl.col("_op") == "create", pl.col("_op") == "update"
    at_first = (waiting | (want.is_not_null() & want.ne_missing(native))) & ~agrees
    # its authority speaks up for the first time and says what stands there already
    late = governed & knows & asked.is_null() & want.is_not_null() & (want.eq_missing(native) | agrees)
    why = (
        pl.when(is_create & wanted & free)
        .then(pl.lit("new"))
        .when(is_update & governed & knows & ~late & (waiting | want.ne_missing(asked)))
        .then(pl.lit("differs"))
        .when(is_update & governed & knows & is_drifted)
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
        late.alias(f"late:{path}"),
    ]
