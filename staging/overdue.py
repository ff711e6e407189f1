"""References to records that nobody knows: they wait, and after their time a person hears of it (DESIGN 9.8).

Never quarantine and never a hold: the record itself is good, and the record that it names may still come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from sqlalchemy import Connection, text

from canonical.model import Entity
from staging import crosswalk, queues
from staging.frames import ident, literal, read_frame

KIND = "unresolved_reference"
_KEY = ("system", "stream", "source_id")


def report(conn: Connection, entity: Entity, uniques: Mapping[str, Sequence[str]], *, hours: int, owner: str) -> int:
    """Opens a finding for every reference of this entity that has waited longer than `hours`, and closes those of
    records that wait no more. `uniques`: entity → its unique columns. Gives how many are new."""
    staged = ident("staging", entity.name)
    conn.execute(
        text(
            "update ops.finding f set state = 'corrected', closed_at = now(), closed_by = 'concord',"
            " closed_because = 'the record that it points to has come'"
            f" from {staged} s where f.state = 'open' and f.kind = :kind and f.entity = :entity"
            " and s.system = f.system and s.stream = f.stream and s.source_id = f.source_id"
            " and (s.deleted or not s.unresolved)"
        ),
        {"kind": KIND, "entity": entity.name},
    )
    columns = [*entity.references, *entity.line_references]
    schema = dict.fromkeys((*_KEY, "canonical_id", *columns), pl.String)
    query = (
        f"select s.system, s.stream, s.source_id, c.canonical_id, {', '.join(f's.{ident(c)}::text' for c in columns)}"
        f" from {staged} s join ops.crosswalk c on c.entity = {literal(entity.name)} and c.system = s.system"
        " and c.stream = s.stream and c.source_id = s.source_id and c.ended_at is null"
        f" where s.unresolved and not s.deleted and s.staged_at < now() - make_interval(hours => {int(hours)})"
    )
    late = read_frame(conn, query, schema)
    if late.is_empty():
        return 0
    found = [_of_column(conn, late, column, to, uniques.get(to, ())) for column, to in entity.references.items()]
    told = pl.concat(found).select(*_KEY).unique() if found else late.select(*_KEY).clear()
    # what no field of the record itself explains stands in one of its lines
    in_lines = late.join(told, on=_KEY, how="anti").select(
        *_KEY, "canonical_id", pl.lit(None, pl.String).alias("field"), pl.lit("record").alias("to")
    )
    rows = pl.concat([*found, in_lines]).select(
        pl.lit(KIND).alias("kind"),
        pl.lit(entity.name).alias("entity"),
        "canonical_id",
        *_KEY,
        "field",
        pl.lit(None, pl.String).alias("ours"),
        pl.lit(None, pl.String).alias("theirs"),
        pl.lit("report").alias("action"),
        pl.format("points to a {} that is not known after {} hours", "to", pl.lit(hours)).alias("because"),
    )
    return queues.open_findings(conn, rows, owner)


def _of_column(conn: Connection, late: pl.DataFrame, column: str, to: str, unique: Sequence[str]) -> pl.DataFrame:
    """The overdue records whose reference in this column resolves to nothing: key, canonical_id, field, to."""
    waiting = late.filter(pl.col(column).is_not_null())
    known = crosswalk.resolve_tokens(conn, waiting[column].unique().to_list(), to, tuple(unique))
    return waiting.join(known.select(pl.col("token").alias(column)), on=column, how="anti").select(
        *_KEY, "canonical_id", pl.lit(column).alias("field"), pl.lit(to).alias("to")
    )
