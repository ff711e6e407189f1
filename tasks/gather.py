"""Gather: all that a plan is decided from, read as columns: what is wanted, linked, asked before and held now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from canonical import drift, planning
from canonical.landscape import Integration, Target
from canonical.mapping.native import from_flat_json, same_lists, same_numbers
from canonical.mapping.program import OutboundProgram
from canonical.model import Entity
from staging import crosswalk, delivery, doubts, flips, golives, pauses, queues, shadow, staged
from staging.engine import Connection
from tasks.world import World

FEW = 5_000
"""Wars are looked for among so many records at once; where more change together it is the brake's business."""


@dataclass(frozen=True)
class Way:
    """One integration's way to one target, with everything compiled."""

    integration: Integration
    target: Target
    entity: Entity
    program: OutboundProgram
    is_paused: bool = False

    @property
    def place(self) -> dict[str, str]:
        """The pair's names, as tables have them."""
        return {
            "integration": self.integration.name,
            "entity": self.entity.name,
            "system": self.target.system,
            "stream": self.target.stream,
        }


def ways(world: World, integrations: Iterable[str]) -> list[Way]:
    """Every (integration, target) of these integrations, with its outbound program and the mode that holds now: as
    declared, or `write` where a person let an observed target go live."""
    with world.transaction() as conn:
        live, resting = golives.live(conn), pauses.resting(conn)
    found = []
    for name in integrations:
        integration = world.landscape.integrations[name]
        entity = world.landscape.model[integration.entity]
        for target in integration.to:
            program = world.outbound(entity.name, target.system, target.stream)
            if target.mode == "observe" and (name, target.system, target.stream) in live:
                target = replace(target, mode="write")
            is_paused = pauses.rests(resting, name, target.system)
            found.append(Way(integration, target, entity, program, is_paused))
    return found


def gather(
    conn: Connection, world: World, way: Way, records: pl.DataFrame, changed: pl.DataFrame, ids: pl.DataFrame
) -> planning.PlanInput:
    """Everything the decision needs, read as columns. `ids.canonical_id`: the records that the target may hold."""
    entity, target, program = way.entity, way.target, way.program
    paths = program.paths
    desired = program.run(records, world.lookups(conn, program, records)).frame
    natives = staged.natives(conn, entity, target.system, target.stream, ids)
    native = _told(natives.filter(pl.col("native").is_not_null() & ~pl.col("gone")), "native", paths, "")
    known = shadow.shadows(conn, entity.name, target.system, target.stream, ids)
    links = crosswalk.links_in(conn, entity.name, target.system, target.stream, ids).join(
        known.select("id", "archived"), on="id", how="left"
    )
    asked = known.select("id", pl.col("asked_paths").alias("_asked"))
    for side in ("asked", "read"):
        asked = asked.hstack(_told(known, side, paths, f"{side}:").drop("id"))
    authority = authorities(world, way)
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
        links=_not_archived_again(links, natives),
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
        frozen=_frozen(conn, world, way, ids, native, desired, natives),
        holds=asks,
        money=world.money_paths(entity, program),
        currencies=world.currency_paths(entity, program),
        on_delete=way.integration.on_delete,
    )


def authorities(world: World, way: Way) -> dict[str, str]:
    """Target path → the system of record of what is written there."""
    return {path: world.authority(way.entity, columns) for path, columns in way.program.sources.items()}


def _not_archived_again(links: pl.DataFrame, natives: pl.DataFrame) -> pl.DataFrame:
    """What we archived and somebody reopened there is live: read after our archive was confirmed, and not gone."""
    live = natives.filter(~pl.col("gone") & (pl.col("read_at") > pl.col("confirmed_at"))).select(
        "id", pl.lit(True).alias("is_live")
    )
    return (
        links.join(live, on="id", how="left", maintain_order="left")
        .with_columns(pl.col("archived").fill_null(False) & ~pl.col("is_live").fill_null(False))
        .drop("is_live")
    )


def _told(frame: pl.DataFrame, column: str, paths: Iterable[str], prefix: str) -> pl.DataFrame:
    """A column of flat JSON objects (path → text) as one column a path, beside `id`."""
    values = from_flat_json(frame[column], paths)
    return frame.select("id").hstack(values.rename(lambda path: f"{prefix}{path}"))


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
    return agreed.with_columns(_loosely_same(program, sides, path).alias(path) | pl.col(path) for path in loose)


def _loosely_same(program: OutboundProgram, sides: pl.DataFrame, path: str) -> pl.Series:
    """Where two spellings of a number or a list of lines say the same."""
    ours, theirs = sides[f"{path}:ours"], sides[path]
    if path not in program.lists:
        return same_numbers(ours, theirs)
    return same_lists(ours, theirs, [element.path for element in program.lists[path].elements])


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


def _frozen(
    conn: Connection,
    world: World,
    way: Way,
    ids: pl.DataFrame,
    native: pl.DataFrame,
    desired: pl.DataFrame,
    natives: pl.DataFrame,
) -> pl.DataFrame:
    """Fields (id, path) that are left alone because they flip too often (P16). A new one is a finding for a person;
    one that agrees again is free again."""
    place = (way.entity.name, way.target.system, way.target.stream)
    standing = flips.frozen(conn, *place)
    few = ids if ids.height <= FEW else ids.clear()
    flipping = flips.often_written(conn, *place, few)
    if standing.is_empty() and flipping.is_empty():
        return standing
    both = _longer(native, "theirs").join(_longer(desired, "ours"), on=["id", "path"])
    differing = both.filter(pl.col("ours").ne_missing(pl.col("theirs")))
    agreed = standing.join(both, on=["id", "path"], how="semi").join(differing, on=["id", "path"], how="anti")
    flips.thaw(conn, *place, agreed.rows())
    war = flipping.join(differing, on=["id", "path"]).join(standing, on=["id", "path"], how="anti")
    told = war.join(natives.select("id", "source_id"), on="id", how="left")
    doubts.report(
        conn,
        world.owner_of(way.entity),
        [
            {
                "kind": "edit_war",
                "entity": way.entity.name,
                "canonical_id": row["id"],
                "system": way.target.system,
                "stream": way.target.stream,
                "source_id": row["source_id"],
                "field": row["path"],
                "ours": row["ours"],
                "theirs": row["theirs"],
                "because": f"told more than {flips.FLIPS} times within an hour, and changed there every time",
            }
            for row in told.iter_rows(named=True)
        ],
    )
    return pl.concat([standing.join(agreed, on=["id", "path"], how="anti"), war.select("id", "path")])


def _longer(frame: pl.DataFrame, value: str) -> pl.DataFrame:
    """One row a record and path: id, path and the value under the name `value`."""
    return frame.unpivot(index="id", variable_name="path", value_name=value)


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
    found = delivery.parent_links(conn, system, pl.concat(asked).unique())
    rows = [(entity, canonical_id, source_id) for (entity, canonical_id), source_id in found.items()]
    return pl.DataFrame(rows, schema=schema, orient="row")


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
