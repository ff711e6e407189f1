"""Plan: what every target of an integration must be told of golden records that changed, as outbox rows.

Runs inside resolve's transaction, so that a golden change and its writes commit together (DESIGN 5.5, 9.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import orjson
import polars as pl

from canonical import drift, keys, planning
from canonical.landscape import Integration, Target
from canonical.mapping.native import same_value
from canonical.mapping.payloads import build_payloads
from canonical.mapping.program import OutboundProgram
from canonical.model import Entity
from staging import crosswalk, golden, outbox, queues, staged
from staging.engine import Connection
from tasks.world import World

CHUNK = 50_000
_NO_CHANGES = pl.DataFrame(schema={"id": pl.String, "_changed": pl.List(pl.String)})


@dataclass(frozen=True)
class Way:
    """One integration's way to one target, with everything compiled."""

    integration: Integration
    target: Target
    entity: Entity
    program: OutboundProgram


def plan_pairs(
    conn: Connection,
    world: World,
    entity: str,
    integrations: Iterable[str],
    *,
    sync_id: int | None,
    changed: pl.DataFrame = _NO_CHANGES,
) -> dict[str, int]:
    """Plans every pair of `entity` that waits for one of `integrations`: target → writes enqueued."""
    planned: dict[str, int] = {}
    for way in ways(world, integrations):
        if way.entity.name != entity:
            continue
        target = way.target
        plan_id = None
        while True:
            ids = outbox.take_dirty(conn, entity, way.integration.name, target.system, target.stream, CHUNK)
            if ids.is_empty():
                break
            if plan_id is None:
                plan_id = outbox.begin_plan(
                    conn,
                    sync_id=sync_id,
                    integration=way.integration.name,
                    entity=entity,
                    system=target.system,
                    stream=target.stream,
                )
            count = plan_target(conn, world, way, ids, plan_id=plan_id, sync_id=sync_id, changed=changed)
            name = f"{target.system}/{target.stream}"
            planned[name] = planned.get(name, 0) + count
    return planned


def ways(world: World, integrations: Iterable[str]) -> list[Way]:
    """Every (integration, target) of these integrations, with its outbound program."""
    found = []
    for name in integrations:
        integration = world.landscape.integrations[name]
        entity = world.landscape.model[integration.entity]
        for target in integration.to:
            program = world.outbound(entity.name, target.system, target.stream)
            found.append(Way(integration, target, entity, program))
    return found


def note_declarations(world: World, integrations: Iterable[str]) -> None:
    """Marks every golden record of a target whose outbound declaration or mode changed (DESIGN 9.2). Before resolve, so
    that a first sync plans each record once."""
    for way in ways(world, integrations):
        target, name = way.target, way.integration.name
        with world.transaction() as conn:
            now = (world.outbound_digest(way), target.mode)
            if outbox.target_declared(conn, name, target.system, target.stream) != now:
                table = golden.golden_table(way.entity)
                outbox.mark_all_dirty(conn, way.entity.name, table, name, target.system, target.stream)
                outbox.set_target_declared(conn, name, target.system, target.stream, *now)


def plan_leftovers(world: World, integrations: Iterable[str], *, sync_id: int | None) -> dict[str, int]:
    """Plans the pairs that no golden change took along: declarations that changed, records found in a target."""
    planned: dict[str, int] = {}
    for way in ways(world, integrations):
        with world.transaction() as conn:
            found = plan_pairs(conn, world, way.entity.name, [way.integration.name], sync_id=sync_id)
        for where, count in found.items():
            planned[where] = planned.get(where, 0) + count
    return planned


def plan_target(
    conn: Connection,
    world: World,
    way: Way,
    ids: pl.DataFrame,
    *,
    plan_id: int,
    sync_id: int | None,
    changed: pl.DataFrame,
) -> int:
    """Plans one target for the golden records `ids.canonical_id`; gives how many writes were enqueued."""
    records = golden.read(conn, way.entity, ids)
    given = gather(conn, world, way, records, changed)
    planned = planning.plan(given)
    _report(conn, world, way, planned)
    _adopt(conn, way, planned, given)
    count = 0
    if way.target.mode != "observe":
        rows = outbox_rows(way, planned, given, plan_id=plan_id, sync_id=sync_id)
        count = _enqueue(conn, way, rows, ids)
    outbox.add_to_plan(
        conn,
        plan_id,
        considered=records.height,
        unchanged=planned.unchanged + planned.outside,
        adopted=planned.adopted.height,
        enqueued=count,
    )
    return count


def gather(
    conn: Connection, world: World, way: Way, records: pl.DataFrame, changed: pl.DataFrame
) -> planning.PlanInput:
    """Everything the decision needs, read as columns."""
    entity, target, program = way.entity, way.target, way.program
    ids = records.select(pl.col("id").alias("canonical_id"))
    paths = program.paths
    desired = program.run(records, world.lookups(conn, program, records)).frame
    natives = staged.natives(conn, entity, target.system, target.stream, ids)
    native = _json_columns(natives.filter(pl.col("native").is_not_null() & ~pl.col("gone")), "native", paths, "")
    shadow = outbox.shadows(conn, entity.name, target.system, target.stream, ids)
    links = crosswalk.links_in(conn, entity.name, target.system, target.stream, ids).join(
        shadow.select("id", "archived"), on="id", how="left"
    )
    asked = _json_columns(shadow, "asked", paths, "asked:").join(_json_columns(shadow, "read", paths, "read:"), on="id")
    asked = asked.with_columns(_keys_of(shadow, "asked").alias("_asked"))
    authority = {path: world.authority(entity, columns) for path, columns in program.sources.items()}
    # our own id is only a mark on what we create; a target that is only ever created in keeps every field for itself
    create_only = frozenset(
        path
        for path, system in authority.items()
        if system == target.system or program.sources[path] == ("id",) or not target.update
    )
    drifted = drift.find(
        native.join(natives.select("id", "source_id", "read_at", "confirmed_at"), on="id"),
        asked.rename({"_asked": "fields"}).join(natives.select("id", "confirmed_at"), on="id"),
        desired,
        authority,
        target.system,
        target.on_drift,
    )
    _report_drift(conn, world, way, drifted)
    in_scope, asks = world.conditions(way.integration, target, entity, records, changed)
    ref_entities = sorted(set(program.refs.values()))
    return planning.PlanInput(
        target=target,
        entity=entity.name,
        paths=paths,
        records=records.select("id", "version", in_scope.alias("in_scope"), "deleted"),
        desired=desired,
        links=links.with_columns(pl.col("archived").fill_null(False)),
        shadow=asked,
        native=native,
        agrees=_agreement(
            way, records, natives, native, desired, world.mapped(entity).get((target.system, target.stream))
        ),
        create_only=create_only,
        authority=authority,
        refs=program.refs,
        ref_links=_ref_links(conn, target.system, desired, program.refs, ref_entities),
        drifted=drifted.filter(pl.col("action") == "restore").select("id", "path"),
        holds=asks,
        money=world.money_paths(entity, program),
        on_delete=way.integration.on_delete,
    )


def _json_columns(frame: pl.DataFrame, column: str, paths: Iterable[str], prefix: str) -> pl.DataFrame:
    """A column of flat JSON objects (path → text) as one column a path."""
    names = list(paths)
    structure = pl.Struct({f"v{n}": pl.String for n in range(len(names))})
    if frame.is_empty():
        return pl.DataFrame(schema={"id": pl.String, **{f"{prefix}{p}": pl.String for p in names}})
    objects = [orjson.loads(text) if text else {} for text in frame[column].to_list()]
    rows = pl.Series("rows", [{f"v{n}": o.get(p) for n, p in enumerate(names)} for o in objects], dtype=structure)
    return frame.select("id").with_columns(
        rows.struct.field(f"v{n}").alias(f"{prefix}{path}") for n, path in enumerate(names)
    )


def _keys_of(frame: pl.DataFrame, column: str) -> pl.Series:
    names = [list(orjson.loads(text)) if text else [] for text in frame[column].to_list()]
    return pl.Series(column, names, dtype=pl.List(pl.String))


def _agreement(
    way: Way,
    records: pl.DataFrame,
    natives: pl.DataFrame,
    native: pl.DataFrame,
    desired: pl.DataFrame,
    mapped: frozenset[str] | None,
) -> pl.DataFrame:
    """Whether what the target holds says the same as the golden record, for each path: by the target's own staged
    values where its sheet maps them, else by the value of numbers and lists. A field of which no authority has said
    anything yet (empty and provisional) contradicts nothing."""
    program = way.program
    theirs = natives.filter(~pl.col("gone") & pl.col("native").is_not_null())
    both = records.join(theirs, on="id", how="inner", suffix=":theirs", maintain_order="left")
    agreed = both.select(
        "id", *(_agrees(way.entity, c, mapped or frozenset()).alias(p) for p, c in program.sources.items())
    )
    loose = [
        p
        for p in program.paths
        if program.kinds[p] in ("number", "json") and not (mapped or frozenset()).issuperset(program.sources[p])
    ]
    if not loose or agreed.is_empty():
        return agreed
    sides = agreed.select("id").join(native.select("id", *loose), on="id", how="left", maintain_order="left")
    sides = sides.join(desired.select("id", *loose), on="id", how="left", suffix=":ours", maintain_order="left")
    return agreed.with_columns(
        pl.Series(
            path,
            [same_value(program.kinds[path], o, t) for o, t in sides.select(f"{path}:ours", path).iter_rows()],
            dtype=pl.Boolean,
        )
        | pl.col(path)
        for path in loose
    )


def _agrees(entity: Entity, columns: tuple[str, ...], mapped: frozenset[str]) -> pl.Expr:
    """One path's agreement as far as canonical values tell it; null where they do not."""
    fields = [entity.by_column[c].field for c in columns if c in entity.by_column]
    if not columns or len(fields) < len(columns):
        return pl.lit(None, dtype=pl.Boolean)
    unsaid = pl.all_horizontal(
        *(pl.col(c).is_null() for c in columns), *(pl.col("provisional").list.contains(f) for f in fields)
    )
    if not mapped.issuperset(columns):
        return pl.when(unsaid).then(pl.lit(True))
    return unsaid | pl.all_horizontal(pl.col(c).eq_missing(pl.col(f"{c}:theirs")) for c in columns)


def _ref_links(
    conn: Connection, system: str, desired: pl.DataFrame, refs: Mapping[str, str], entities: list[str]
) -> pl.DataFrame:
    schema = {"entity": pl.String, "id": pl.String, "source_id": pl.String}
    asked = [
        desired.select(pl.lit(entity).alias("entity"), pl.col(path).alias("canonical_id")).drop_nulls()
        for entity in entities
        for path, of in refs.items()
        if of == entity
    ]
    if not asked:
        return pl.DataFrame(schema=schema)
    found = outbox.parent_links(conn, system, pl.concat(asked).unique())
    rows = [(entity, canonical_id, source_id) for (entity, canonical_id), source_id in found.items()]
    return pl.DataFrame(rows, schema=schema, orient="row")


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
    idem, hashes = [], []
    for cid, op, version, payload in rows.select("id", "op", "version", "payload").iter_rows():
        idem.append(
            keys.create_key(target.system, target.stream, cid)
            if op == "create"
            else keys.update_key(target.system, target.stream, cid, version, payload, op)
        )
        hashes.append(keys.write_hash(entity, target.system, target.stream, cid, op, payload))
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
        pl.when(waits.list.len() > 0).then(_waits_json(rows)).alias("refs"),
        pl.Series("key", idem, dtype=pl.String),
        pl.Series("write_hash", hashes, dtype=pl.String),
        "because",
        pl.col("hold").alias("reason"),
        pl.col("blanked").cast(pl.Int64),
        "money",
    )


def _waits_json(rows: pl.DataFrame) -> pl.Series:
    texts = [orjson.dumps(w).decode() if w else None for w in rows["waits_for"].to_list()]
    return pl.Series("refs", texts, dtype=pl.String)


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
    rows: dict[str, dict[str, Decimal]] = {}
    for row in moved.iter_rows(named=True):
        currency = row[f"currency:{row['path']}"] or ""
        per = rows.setdefault(row["id"], {})
        per[currency] = per.get(currency, Decimal(0)) + row["moved"]
    texts = [(i, orjson.dumps({c: str(m) for c, m in per.items()}).decode()) for i, per in rows.items()]
    return pl.DataFrame(texts, schema=schema, orient="row")


def _currencies(given: planning.PlanInput) -> list[pl.Expr]:
    """For each money path the column that names its currency."""
    return [
        (pl.col(code.removeprefix("path:")) if code.startswith("path:") else pl.lit(code)).alias(f"currency:{path}")
        for path, code in given.money.items()
    ]


def _amount(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Decimal(38, 6), strict=False).fill_null(0)


def flat_json(frame: pl.DataFrame, paths: Iterable[str]) -> pl.Series:
    """One flat JSON object a row: path → text or null."""
    names = list(paths)
    rows = frame.select(names).rows()
    return pl.Series(
        "asked", [orjson.dumps(dict(zip(names, row, strict=True))).decode() for row in rows], dtype=pl.String
    )


def _enqueue(conn: Connection, way: Way, rows: pl.DataFrame, ids: pl.DataFrame) -> int:
    """Stores new writes; what is open for the same record and says the same stays, anything else is overtaken."""
    target = way.target
    standing = outbox.open_writes(conn, way.entity.name, target.system, target.stream, ids)
    standing = standing.filter(~pl.col("state").is_in(["inflight", "unknown"]))
    if rows.is_empty():
        outbox.supersede(conn, standing["outbox_id"].to_list(), "nothing differs any more")
        return 0
    same = standing.join(rows.select("canonical_id", "write_hash"), on=["canonical_id", "write_hash"], how="semi")
    overtaken = standing.join(same, on="outbox_id", how="anti")
    outbox.supersede(conn, overtaken["outbox_id"].to_list(), "a later version overtook it")
    # what the target refused in these very words waits as a dead letter; saying it again would only be refused again
    refused = outbox.refused(conn, way.entity.name, target.system, target.stream, rows.select("canonical_id"))
    new = rows
    for known in (same, refused):
        new = new.join(known, on=["canonical_id", "write_hash"], how="anti")
    return outbox.enqueue(conn, new)


def _adopt(conn: Connection, way: Way, planned: planning.Planned, given: planning.PlanInput) -> None:
    """Linked records that hold what they should: their shadow is what they hold (nothing is written)."""
    if planned.adopted.is_empty():
        return
    asked = planned.adopted.join(planned.asked, on="id", how="left", maintain_order="left")
    native = planned.adopted.join(given.native, on="id", how="left", maintain_order="left")
    versions = planned.adopted.join(given.records, on="id", how="left", maintain_order="left")
    outbox.confirm_shadow(
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


def _report_drift(conn: Connection, world: World, way: Way, found: pl.DataFrame) -> None:
    queues.open_findings(
        conn,
        found.select(
            pl.lit("unauthorised_edit").alias("kind"),
            pl.lit(way.entity.name).alias("entity"),
            pl.col("id").alias("canonical_id"),
            pl.lit(way.target.system).alias("system"),
            pl.lit(way.target.stream).alias("stream"),
            "source_id",
            pl.col("path").alias("field"),
            "ours",
            "theirs",
            "action",
            "because",
        ),
        world.owner_of(way.entity),
    )
