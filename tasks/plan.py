"""Plan: what every target of an integration must be told of golden records that changed, as outbox rows.

Runs inside resolve's transaction, so that a golden change and its writes commit together (DESIGN 5.5, 9.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import polars as pl

from canonical import keys, planning
from canonical.mapping.native import flat_json
from canonical.mapping.payloads import build_payloads
from canonical.model import Entity
from staging import dirty, golden, locks, outbox, queues, shadow
from staging.crash import crash_point
from staging.engine import Connection
from tasks.gather import Way, authorities, gather, ways
from tasks.world import World

CHUNK = 50_000


_NO_CHANGES = pl.DataFrame(schema={"id": pl.String, "_changed": pl.List(pl.String)})


@dataclass(frozen=True)
class Golden:
    """Golden records to be planned, as they are now.

    records   as `golden.read` gives them
    is_known  row for row: whether the record stood before this transaction. Of one made in it nothing was planned,
              written or confirmed yet, and it has no records but those in `links`
    links     (id, system, stream) of the records linked to them, as far as they were made in this transaction
    changed   (id, _changed List(String)) columns that this transaction changed
    """

    records: pl.DataFrame
    is_known: pl.Series
    links: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(schema=dict.fromkeys(("id", "system", "stream"), pl.String))
    )
    changed: pl.DataFrame = field(default_factory=lambda: _NO_CHANGES)

    def slice(self, start: int, length: int) -> Golden:
        """A part of the records."""
        return replace(self, records=self.records.slice(start, length), is_known=self.is_known.slice(start, length))

    def without(self, ids: pl.Series) -> Golden:
        """All but these records."""
        keep = ~self.records["id"].is_in(ids.implode())
        return replace(self, records=self.records.filter(keep), is_known=self.is_known.filter(keep))

    def seen_by(self, way: Way) -> pl.DataFrame:
        """Which of them a target may hold already: canonical_id."""
        here = (pl.col("system") == way.target.system) & (pl.col("stream") == way.target.stream)
        there = self.links.filter(here)["id"]
        ids = self.records["id"]
        return ids.filter(self.is_known | ids.is_in(there.implode())).alias("canonical_id").to_frame()

    @property
    def known(self) -> pl.DataFrame:
        """Those that stood before: canonical_id."""
        return self.records["id"].filter(self.is_known).alias("canonical_id").to_frame()


def plan_chunk(
    conn: Connection, world: World, entity: Entity, chunk: Golden, integrations: Iterable[str], *, sync_id: int | None
) -> dict[str, int]:
    """Plans golden records for the targets of `integrations` and notes them for all others: target → writes."""
    planned: dict[str, int] = {}
    ids = chunk.records.select(pl.col("id").alias("canonical_id"))
    chosen = set(integrations)
    dirty.mark_dirty(conn, world.pairs(entity.name, ids["canonical_id"], without=chosen))
    for way in (w for w in ways(world, chosen) if w.entity.name == entity.name):
        integration, target = way.integration.name, way.target
        # what a paused target would be told waits, noted, and is planned from what is true when it goes on
        doubtful = dirty.in_doubt(conn, entity.name, target.system, target.stream)
        later = ids if _rests(world, way) else ids.filter(pl.col("canonical_id").is_in(doubtful.implode()))
        dirty.mark_dirty(conn, later.with_columns(pl.lit(v).alias(k) for k, v in way.place.items()))
        now = chunk.without(later["canonical_id"])
        dirty.forget(conn, entity.name, integration, target.system, target.stream, now.known)
        if now.records.is_empty():
            continue
        plan_id = _begin(conn, world, way, sync_id)
        name = f"{target.system}/{target.stream}"
        for start in range(0, now.records.height, CHUNK):
            part = now.slice(start, CHUNK)
            count = plan_target(conn, world, way, part, plan_id=plan_id, sync_id=sync_id)
            planned[name] = planned.get(name, 0) + count
    return planned


def plan_noted(conn: Connection, world: World, way: Way, *, sync_id: int | None) -> int:
    """Plans every golden record that is noted for one target; gives how many writes were enqueued."""
    target, plan_id, count = way.target, None, 0
    while not _rests(world, way):
        ids = dirty.take_dirty(conn, way.entity.name, way.integration.name, target.system, target.stream, CHUNK)
        if ids.is_empty():
            break
        plan_id = plan_id if plan_id is not None else _begin(conn, world, way, sync_id)
        records = golden.read(conn, way.entity, ids)
        is_known = pl.Series("is_known", [True], dtype=pl.Boolean).new_from_index(0, records.height)
        count += plan_target(conn, world, way, Golden(records, is_known), plan_id=plan_id, sync_id=sync_id)
    return count


def plan_these(conn: Connection, world: World, way: Way, ids: pl.DataFrame, *, sync_id: int | None) -> int:
    """Plans these golden records (`canonical_id`) for one target, noted or not; gives how many writes were enqueued."""
    dirty.forget(conn, way.entity.name, way.integration.name, way.target.system, way.target.stream, ids)
    records = golden.read(conn, way.entity, ids)
    is_known = pl.Series("is_known", [True], dtype=pl.Boolean).new_from_index(0, records.height)
    plan_id = _begin(conn, world, way, sync_id)
    return plan_target(conn, world, way, Golden(records, is_known), plan_id=plan_id, sync_id=sync_id)


def _rests(world: World, way: Way) -> bool:
    return way.is_paused and not world.is_rehearsing


def _begin(conn: Connection, world: World, way: Way, sync_id: int | None) -> int:
    return outbox.begin_plan(conn, sync_id=sync_id, **way.place, authority=authorities(world, way))


def note_declarations(world: World, integrations: Iterable[str]) -> None:
    """Marks every golden record of a target whose outbound declaration or mode changed (DESIGN 9.2). Before resolve, so
    that a first sync plans each record once."""
    for way in ways(world, integrations):
        target, name = way.target, way.integration.name
        with world.transaction() as conn:
            now = (world.outbound_digest(way), target.mode)
            if dirty.target_declared(conn, name, target.system, target.stream) != now:
                table = golden.golden_table(way.entity)
                dirty.mark_all_dirty(conn, way.entity.name, table, name, target.system, target.stream)
                dirty.set_target_declared(conn, name, target.system, target.stream, *now)


def plan_leftovers(world: World, integrations: Iterable[str], *, sync_id: int | None) -> dict[str, int]:
    """Plans the pairs that no golden change took along: declarations that changed, records found in a target."""
    planned: dict[str, int] = {}
    for way in ways(world, integrations):
        with world.transaction() as conn:
            locks.gate(conn, f"resolve:{way.entity.name}")
            count = plan_noted(conn, world, way, sync_id=sync_id)
        crash_point("plan.leftovers")
        where = f"{way.target.system}/{way.target.stream}"
        planned[where] = planned.get(where, 0) + count
    return planned


def plan_target(
    conn: Connection,
    world: World,
    way: Way,
    given_records: Golden,
    *,
    plan_id: int,
    sync_id: int | None,
) -> int:
    """Plans one target for these golden records; gives how many writes were enqueued."""
    records = given_records.records
    given = gather(conn, world, way, records, given_records.changed, given_records.seen_by(way))
    planned = planning.plan(given)
    _report(conn, world, way, planned)
    _adopt(conn, way, planned, given)
    # an observed target is told nothing, also not what was open before; but a plan shows what it would be told (9.15)
    is_told = way.target.mode != "observe" or world.is_rehearsing
    rows = outbox_rows(way, planned, given, plan_id=plan_id, sync_id=sync_id) if is_told else pl.DataFrame()
    count = _enqueue(conn, way, rows, given_records.known)
    outbox.add_to_plan(
        conn,
        plan_id,
        considered=records.height,
        unchanged=planned.unchanged + planned.outside,
        adopted=planned.adopted.height,
        enqueued=count,
        observed=0 if is_told else planned.writes.height,
    )
    return count


def outbox_rows(
    way: Way, planned: planning.Planned, given: planning.PlanInput, *, plan_id: int, sync_id: int | None
) -> pl.DataFrame:
    """Planned writes as rows of the outbox, frozen: payload, key and hash."""
    writes = planned.writes
    if writes.is_empty():
        return pl.DataFrame()
    target, entity = way.target, way.entity.name
    payloads = build_payloads(planned.payload, way.program.kinds, planned.present)
    asked = planned.asked.select("id", flat_json(planned.asked, given.paths).alias("asked"))
    rows = writes.with_columns(pl.Series("payload", payloads, dtype=pl.String)).join(
        asked, on="id", how="left", maintain_order="left"
    )
    waits = pl.col("waits_for")
    rows = rows.join(_money_json(planned, given), on="id", how="left", maintain_order="left")
    return rows.select(
        pl.lit(plan_id, pl.Int64).alias("plan_id"),
        pl.lit(sync_id, pl.Int64).alias("sync_id"),
        pl.lit(way.integration.name).alias("integration"),
        pl.lit(entity).alias("entity"),
        pl.col("id").alias("canonical_id"),
        "version",
        pl.lit(target.system).alias("system"),
        pl.lit(target.stream).alias("stream"),
        "op",
        "source_id",
        "payload",
        pl.col("asked").fill_null("{}"),
        pl.col("changes").alias("before"),
        pl.concat_list(pl.col("fields").list.eval(pl.format('"{}"', pl.element()))).alias("fields"),
        pl.when(waits.list.len() > 0).then(_json_of(waits)).alias("refs"),
        keys.write_keys(target.system, target.stream, rows),
        keys.write_hashes(entity, target.system, target.stream, rows),
        "because",
        pl.col("hold").alias("reason"),
        pl.col("blanked").cast(pl.Int64),
        "money",
    )


def _json_of(column: pl.Expr) -> pl.Expr:
    """A column of any type as JSON text."""
    # encoding a struct of one field gives {"v":…}; what stands between is the JSON of the value
    return pl.struct(column.alias("v")).struct.json_encode().str.slice(5).str.strip_suffix("}")


def _money_json(planned: planning.Planned, given: planning.PlanInput) -> pl.DataFrame:
    """What each write moves of money that stood there before, per currency: id, money (JSON {currency: amount})."""
    schema = {"id": pl.String, "money": pl.String}
    sent = planned.changes.filter(
        pl.col("path").is_in(list(given.money)) & pl.col("old").is_not_null() & (pl.col("op") != "create")
    )
    if sent.is_empty():
        return pl.DataFrame(schema=schema)
    codes = given.desired.select("id", *_currencies(given))
    moved = sent.select(
        "id",
        "path",
        (_amount("new") - _amount("old")).abs().alias("moved"),
    ).join(codes, on="id", how="left", maintain_order="left")
    currency = pl.coalesce(
        *(pl.when(pl.col("path") == path).then(pl.col(f"currency:{path}")) for path in given.money), pl.lit("")
    )
    member = pl.format("{}:{}", _json_of(pl.col("currency")), _json_of(pl.col("moved").cast(pl.String)))
    return (
        moved.group_by("id", currency.alias("currency"), maintain_order=True)
        .agg(pl.col("moved").sum())
        .group_by("id", maintain_order=True)
        .agg((pl.lit("{") + member.str.join(",") + pl.lit("}")).alias("money"))
    )


def _currencies(given: planning.PlanInput) -> list[pl.Expr]:
    """For each money path the column that names its currency."""
    return [
        (pl.col(code.removeprefix("path:")) if code.startswith("path:") else pl.lit(code)).alias(f"currency:{path}")
        for path, code in given.money.items()
    ]


def _amount(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Decimal(38, 6), strict=False).fill_null(0)


def _enqueue(conn: Connection, way: Way, rows: pl.DataFrame, ids: pl.DataFrame) -> int:
    """Stores new writes; what is open for the same record (one of `ids`, else nothing is) and says the same stays,
    anything else is overtaken."""
    target = way.target
    if ids.is_empty():
        return outbox.enqueue(conn, rows) if rows.height else 0
    standing = outbox.open_writes(conn, way.entity.name, target.system, target.stream, ids)
    standing = standing.filter(~pl.col("state").is_in(["inflight", "unknown"]))
    if rows.is_empty():
        outbox.supersede(conn, standing["outbox_id"].to_list(), "nothing differs any more")
        return 0
    # what is missing of a waiting write's parents is not in its hash: the parents themselves must be the same
    says = ["canonical_id", "write_hash", "refs"]
    rows = _still_held(_still_asking(rows, standing), standing)
    asks_anew = rows.filter(pl.col("reason").is_not_null()).select("canonical_id")
    stays = standing.join(
        standing.filter(pl.col("was_reason").is_null()).join(asks_anew, on="canonical_id", how="semi"),
        on="outbox_id",
        how="anti",
    )
    same = stays.join(rows.select(says), on=says, how="semi", nulls_equal=True)
    overtaken = standing.join(same, on="outbox_id", how="anti")
    outbox.supersede(conn, overtaken["outbox_id"].to_list(), "a later version overtook it")
    # what the target refused in these very words waits as a dead letter; saying it again would only be refused again
    refused = outbox.refused(conn, way.entity.name, target.system, target.stream, ids)
    new = rows.join(same, on=says, how="anti", nulls_equal=True)
    return outbox.enqueue(conn, new.join(refused, on=["canonical_id", "write_hash"], how="anti"))


def _still_asking(rows: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """A write that overtakes one which waits for a person asks for the same reason, as long as it still writes one of
    the fields that were asked about: an approval is not got round by the next edit (RELIABILITY P23)."""
    asked = standing.filter(pl.col("was_reason").is_not_null()).unique("canonical_id")
    asked = asked.select("canonical_id", "was_reason", pl.col("was_fields").list.eval(pl.format('"{}"', pl.element())))
    joined = rows.join(asked, on="canonical_id", how="left", maintain_order="left")
    shares = pl.col("fields").list.set_intersection("was_fields").list.len() > 0
    return joined.with_columns(pl.coalesce("reason", pl.when(shares).then(pl.col("was_reason"))).alias("reason")).drop(
        "was_reason", "was_fields"
    )


def _still_held(rows: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """A write that overtakes a held one falls back behind a hold (`hold_id`: of the one overtaken), as long as it
    writes one of the same fields or does the same to the record: what the brake has stopped does not pass it record by
    record with the next edit, and an approval covers what was shown (DESIGN 9.14)."""
    held = standing.filter(pl.col("hold_id").is_not_null()).unique("canonical_id", keep="last")
    held = held.select(
        "canonical_id",
        "hold_id",
        pl.col("op").alias("was_op"),
        pl.col("was_fields").list.eval(pl.format('"{}"', pl.element())),
    )
    joined = rows.join(held, on="canonical_id", how="left", maintain_order="left")
    does_the_same = (pl.col("op") == pl.col("was_op")) & (pl.col("op") != "update")
    shares = pl.col("fields").list.set_intersection("was_fields").list.len() > 0
    return joined.with_columns(pl.when(shares | does_the_same).then(pl.col("hold_id")).alias("hold_id")).drop(
        "was_op", "was_fields"
    )


def _adopt(conn: Connection, way: Way, planned: planning.Planned, given: planning.PlanInput) -> None:
    """Linked records that hold what they should: their shadow is what they hold (nothing is written)."""
    if planned.adopted.is_empty():
        return
    asked = planned.adopted.join(planned.asked, on="id", how="left", maintain_order="left")
    native = planned.adopted.join(given.native, on="id", how="left", maintain_order="left")
    versions = planned.adopted.join(given.records, on="id", how="left", maintain_order="left")
    shadow.confirm_shadow(
        conn,
        planned.adopted.select(
            pl.lit(way.entity.name).alias("entity"),
            pl.lit(way.target.system).alias("system"),
            pl.lit(way.target.stream).alias("stream"),
            pl.col("id").alias("canonical_id"),
            "source_id",
        ).with_columns(
            flat_json(asked, given.paths).alias("asked"),
            flat_json(native, given.paths).alias("read"),
            versions["version"],
            pl.lit(False).alias("is_archived"),
        ),
    )


def _report(conn: Connection, world: World, way: Way, planned: planning.Planned) -> None:
    found = planned.findings
    queues.open_findings(
        conn,
        found.select(
            "kind",
            pl.lit(way.entity.name).alias("entity"),
            pl.col("id").alias("canonical_id"),
            pl.lit(way.target.system).alias("system"),
            pl.lit(way.target.stream).alias("stream"),
            "source_id",
            pl.col("path").alias("field"),
            "ours",
            "theirs",
            pl.lit("report").alias("action"),
            "because",
        ),
        world.owner_of(way.entity),
    )
