"""References of an entity to itself (a customer's parent, an invoice that a credit note takes back): no circles.

A batch's candidates are looked at together with the staged records that their parents lead to, as sets: the staged
part is one recursive query over record keys, and each of them is visited once, however long the way is.
"""

from __future__ import annotations

import polars as pl
from sqlalchemy import Connection, text

from canonical.circles import on_a_circle
from canonical.model import Entity
from staging.frames import ident, literal, read_frame, temporary

RULE = "circle"
"""The rule's name in problems and in quarantine."""
_NODE = "concat_ws(chr(31), {0}.system, {0}.stream, {0}.source_id)"
_PROBLEMS = {"_row": pl.UInt32, "column": pl.String, "rule": pl.String, "reason": pl.String}


def circles(conn: Connection, entity: Entity, system: str, stream: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Problems (_row, column, rule, reason) of a batch's candidates (`_row`, source_id, leaf columns with tokens) whose
    parents lead back to themselves."""
    found = [pl.DataFrame(schema=_PROBLEMS)]
    for column in (c for c, target in entity.references.items() if target == entity.name and c in rows.columns):
        referring = rows.filter(pl.col(column).is_not_null())
        if referring.height:
            found.append(_circles(conn, entity, system, stream, rows, referring, column))
    return pl.concat(found)


def look_again(conn: Connection, entity: str, system: str, stream: str) -> int:
    """Puts records back to work that were quarantined for a circle, once anything else of their stream has landed: what
    closed the circle may have been repaired. Gives how many."""
    found = conn.execute(
        text(
            "update landing.record r set state = 'landed' from ops.quarantine q where q.state = 'open'"
            " and q.rule = :rule and q.entity = :entity and q.system = :system and q.stream = :stream"
            " and r.system = q.system and r.stream = q.stream and r.source_id = q.source_id"
            " and r.state = 'quarantined' and not r.deleted and exists (select from landing.record n"
            " where n.system = :system and n.stream = :stream and n.state = 'landed')"
        ),
        {"rule": RULE, "entity": entity, "system": system, "stream": stream},
    )
    return int(found.rowcount)


def _circles(
    conn: Connection,
    entity: Entity,
    system: str,
    stream: str,
    rows: pl.DataFrame,
    referring: pl.DataFrame,
    column: str,
) -> pl.DataFrame:
    own = _node(pl.lit(system), pl.lit(stream), pl.col("source_id"))
    referring = referring.select("_row", own.alias("child"), pl.col(column).alias("token"))
    tokens = temporary(conn, "parent_tokens", {"token": "text"}, referring.select("token").unique())
    known = [
        _by_link(referring),
        _by_value(entity, rows.with_columns(own.alias("parent")), referring),
        referring.join(_named(conn, entity, tokens), on="token", how="inner").select("child", "parent"),
    ]
    newer = rows.select(own.alias("child"))
    edges = pl.concat([*known, _ways(conn, entity, column, tokens).join(newer, on="child", how="anti")])
    circle = referring.join(on_a_circle(edges), on="child", how="inner")
    reason = (
        pl.when(pl.col("others") == 0)
        .then(pl.lit(f"expected a {entity.name} other than itself, found itself"))
        .otherwise(
            pl.format(
                f"expected a {entity.name} that does not lead back to itself, found a circle with {{}} others",
                pl.col("others"),
            )
        )
    )
    return circle.select(
        pl.col("_row").cast(pl.UInt32),
        pl.lit(column).alias("column"),
        pl.lit(RULE).alias("rule"),
        reason.alias("reason"),
    )


def _node(system: pl.Expr, stream: pl.Expr, source_id: pl.Expr) -> pl.Expr:
    return pl.concat_str(system, stream, source_id, separator="\x1f")


def _by_link(referring: pl.DataFrame) -> pl.DataFrame:
    """Edges of tokens that name a record: child, parent."""
    parts = pl.col("token").str.json_decode(pl.List(pl.String))
    linked = referring.with_columns(parts.alias("parts")).filter(pl.col("parts").list.get(0) == "link")
    at = pl.col("parts").list.get
    return linked.select("child", _node(at(1), at(2), at(3)).alias("parent"))


def _by_value(entity: Entity, rows: pl.DataFrame, referring: pl.DataFrame) -> pl.DataFrame:
    """Edges of tokens that name a unique value, where a candidate of the same batch has it: child, parent."""
    parts = pl.col("token").str.json_decode(pl.List(pl.String))
    valued = referring.with_columns(parts.alias("parts")).filter(pl.col("parts").list.get(0) == "value")
    at = pl.col("parts").list.get
    valued = valued.select("child", at(1).alias("named"), at(2).alias("value"))
    found = [
        valued.filter(pl.col("named") == unique).join(
            rows.select("parent", pl.col(unique).alias("value")).drop_nulls(), on="value", how="inner"
        )
        for unique in entity.match.unique
        if unique in rows.columns
    ]
    schema = {"child": pl.String, "parent": pl.String}
    return pl.concat([pl.DataFrame(schema=schema), *(edges.select("child", "parent") for edges in found)])


def _leads(entity: Entity) -> str:
    """The staged records that `t.token` names, as `n (system, stream, source_id)`."""
    part = "(t.token::json ->> {})".format
    ways = [f"select {part(1)}, {part(2)}, {part(3)} where {part(0)} = 'link'"]
    ways += [
        f"select o.system, o.stream, o.source_id from {ident('staging', entity.name)} o where {part(0)} = 'value'"
        f" and {part(1)} = {literal(unique)} and o.{ident(unique)} = {part(2)} and not o.deleted"
        for unique in entity.match.unique
        if unique in entity.by_column
    ]
    return f"cross join lateral ({' union all '.join(ways)}) as n (system, stream, source_id)"


def _named(conn: Connection, entity: Entity, tokens: str) -> pl.DataFrame:
    """What the tokens of that table name among staged records: token, parent."""
    query = f"select t.token, {_NODE.format('n')} from {tokens} t {_leads(entity)}"
    return read_frame(conn, query, {"token": pl.String, "parent": pl.String})


def _ways(conn: Connection, entity: Entity, column: str, tokens: str) -> pl.DataFrame:
    """Where the staged records that the tokens name lead on to: child, parent, of every record on the way."""
    leads = _leads(entity)
    staged = ident("staging", entity.name)
    above = (
        f"(select s.system, s.stream, s.source_id, s.{ident(column)} as token from {staged} s"
        f" where not s.deleted and s.{ident(column)} is not null)"
    )
    query = (
        f"with recursive up (system, stream, source_id) as (select n.* from {tokens} t {leads}"
        f" union select n.* from up join {above} t using (system, stream, source_id) {leads})"
        f" select {_NODE.format('t')}, {_NODE.format('n')}"
        f" from up join {above} t using (system, stream, source_id) {leads}"
    )
    return read_frame(conn, query, {"child": pl.String, "parent": pl.String})
