"""Resolve: which golden record each staged record is, what that record now says, and what every target must hear of it.

One chunk is one transaction under the entity's lock: links, golden versions, history and outbox rows commit together
or not at all (DESIGN 5.4, 9.9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from canonical import keys, matching, survivorship
from canonical.mapping.lines import exploded_lines, joined_lines
from canonical.model import Entity, LeafKind, MatchRules
from staging import crosswalk, golden, locks, overdue, queues, restored, shadow, staged
from staging.crash import crash_point
from staging.engine import Connection
from tasks.dependents import note_dependents
from tasks.plan import Golden, plan_chunk
from tasks.release import WAIT_HOURS
from tasks.world import World

FIRST_CHUNK, FEW, CHUNK = 5_000, 10_000, 100_000
"""Records that are worked out at once. The few of a reload take less memory in small chunks, in which a load takes up
to half as long again (docs/reference/performance.md)."""
EVERYTHING = 2**31


@dataclass
class Resolved:
    """What resolve did, in numbers a person asks for."""

    records: int = 0
    linked: int = 0
    created: int = 0
    asked: int = 0
    duplicates: int = 0
    versions: int = 0
    planned: dict[str, int] = field(default_factory=dict)


def resolve(
    world: World,
    entity_name: str,
    *,
    sync_id: int | None,
    integrations: tuple[str, ...],
    only: pl.DataFrame | None = None,
) -> Resolved:
    """Resolves every dirty staged record of an entity, chunk by chunk, and plans the targets of `integrations`.
    `only`: of these records (system, stream, source_id)."""
    entity = world.landscape.model[entity_name]
    done = Resolved()
    with world.transaction() as conn:
        locks.gate(conn, f"resolve:{entity.name}")
        if entity.references or any(entity.line_references.values()):
            staged.wake_unresolved(conn, entity)
        _link_own(conn, world, entity)
        # after a restore: what was made in a target since the backup is no new record (tasks.relearn)
        rest = restored.unlinked_rest(entity.name, restored.waiting(conn))
    size = FIRST_CHUNK if only is None else EVERYTHING
    while True:
        with world.transaction() as conn:
            locks.gate(conn, f"resolve:{entity.name}")
            if not _resolve_chunk(
                conn, world, entity, size, only, rest, done, sync_id=sync_id, integrations=integrations
            ):
                break
            crash_point("resolve.chunk")
        crash_point("resolve.committed")
        if only is None and done.records >= FEW:
            size = CHUNK
    if entity.references or any(entity.line_references.values()):
        uniques = {e.name: e.match.unique for e in world.landscape.model.entities}
        with world.transaction() as conn:
            overdue.report(conn, entity, uniques, hours=WAIT_HOURS, owner=world.owner_of(entity))
    return done


def _link_own(conn: Connection, world: World, entity: Entity) -> None:
    """What we created ourselves is known by the id we put there, also when it is read before its create is settled."""
    for system, stream in world.makers(entity.name):
        program = world.outbound_if_any(entity.name, system, stream)
        for path in (p for p, columns in program.sources.items() if columns == ("id",)) if program else ():
            crosswalk.link_own(conn, entity.name, staged.staged_table(entity), system, stream, path)


def _resolve_chunk(
    conn: Connection,
    world: World,
    entity: Entity,
    size: int,
    only: pl.DataFrame | None,
    rest: str,
    done: Resolved,
    *,
    sync_id: int | None,
    integrations: tuple[str, ...],
) -> bool:
    """Links, golden records, plans and states of the next `size` records; whether there were any. The frames of whole
    records, 1 KiB a record in each, are let go before writes are planned, which takes as much again."""
    rows = staged.dirty(conn, entity, world.ranks(entity), size, rest)
    if only is not None:
        rows = rows.join(only, on=["system", "stream", "source_id"], how="semi", maintain_order="left")
    if rows.is_empty():
        return False
    done.records += rows.height
    rows, asked = _placed(conn, world, entity, rows, done)
    settled = rows.select("system", "stream", "source_id", "batch_id", "key", "deleted", "canonical_id")
    now, unresolved = _survive(conn, world, entity, rows, done, sync_id=sync_id)
    del rows
    if now is not None:
        for name, count in plan_chunk(conn, world, entity, now, integrations, sync_id=sync_id).items():
            done.planned[name] = done.planned.get(name, 0) + count
    queues.withdraw_reviews(conn, entity.name, settled.filter("deleted"))
    keyed = settled.select("system", "stream", "source_id", "batch_id", "key").with_columns(
        state=pl.when(pl.col("key").is_in(list(asked))).then(pl.lit("review")).otherwise(pl.lit("resolved")),
        unresolved=pl.col("key").is_in(unresolved),
    )
    staged.settle(conn, entity, keyed)
    is_elsewhere = pl.col("system") != entity.record
    gone = settled.filter(pl.col("deleted") & (pl.col("canonical_id").is_not_null()) & is_elsewhere)
    _report_deleted(conn, world, entity, gone)
    return True


def _placed(
    conn: Connection, world: World, entity: Entity, rows: pl.DataFrame, done: Resolved
) -> tuple[pl.DataFrame, set[str]]:
    """The rows, each with the golden record that it belongs to if that is known; and keys that wait for a person."""
    new = rows.filter(pl.col("canonical_id").is_null() & ~pl.col("deleted"))
    matched = _match(conn, world, entity, new, done) if new.height else _NOTHING
    asked = set(matched.filter(pl.col("action") == "ask")["key"].to_list()) if matched.height else set()
    links = matched.filter(pl.col("canonical_id").is_not_null()).select("key", "canonical_id", "is_primary")
    rows = rows.with_columns(_key()).join(links, on="key", how="left", suffix="_new", maintain_order="left")
    placed = rows.with_columns(
        pl.coalesce(name, f"{name}_new").alias(name) for name in ("canonical_id", "is_primary")
    ).drop("canonical_id_new", "is_primary_new")
    return placed, asked


_NOTHING = pl.DataFrame(
    schema={"key": pl.String, "action": pl.String, "canonical_id": pl.String, "is_primary": pl.Boolean}
)


def _key() -> pl.Expr:
    return pl.concat_str("system", "stream", "source_id", separator="\x1f").alias("key")


def _match(conn: Connection, world: World, entity: Entity, new: pl.DataFrame, done: Resolved) -> pl.DataFrame:
    """Links, creates and asks for records without a link; gives key, action, canonical_id, is_primary."""
    rules = entity.match
    new = new.with_columns(_key())
    wanted = new.select("key", "system", "stream", "source_id", *rules.columns)
    kinds = {leaf.column: leaf.kind for leaf in entity.leaves}
    blocks = matching.block_keys(wanted, rules)
    known = pl.concat(
        [
            staged.sharing(conn, entity, _looked_up(wanted, rules, kinds)),
            staged.in_blocks(conn, entity, blocks),
        ]
    ).unique(["system", "stream", "source_id"])
    known = known.with_columns(_key()).select(
        "canonical_id", "key", "system", "stream", "source_id", "is_primary", *rules.columns
    )
    answers = queues.answers(conn, entity.name).select(_key(), pl.col("other").alias("other_key"), "verdict")
    ranks = {system: n for n, system in enumerate(world.ranks(entity))}
    result = matching.match(wanted, known.drop("is_primary"), rules, ranks, answers)
    founders = _founders(entity, result.decisions, new)
    decided = (
        result.decisions.join(founders, on="group", how="left", suffix="_new")
        .with_columns(canonical_id=pl.coalesce("canonical_id", "canonical_id_new"))
        .join(new.select("key", "system", "stream", "source_id"), on="key")
    )
    links = decided.filter(pl.col("action") != "ask")
    links = links.with_columns(is_primary=_is_primary(conn, entity, links))
    crosswalk.link(conn, entity.name, links, by="concord")
    links = _in_place_of_the_gone(conn, entity, links)
    _report_duplicates(conn, world, entity, links.filter(~pl.col("is_primary")))
    reviews = result.reviews.join(new.select("key", "system", "stream", "source_id"), on="key").with_columns(
        other=pl.col("other_key")
    )
    owner = world.owner_of(entity)
    done.asked += queues.open_reviews(conn, entity.name, reviews, owner)
    queues.withdraw_reviews(conn, entity.name, links)
    staged.replace_match_keys(conn, entity, new, blocks.join(new.select("key", *staged.KEY), on="key"))
    done.linked += links.height - founders.height
    done.duplicates += links.filter(~pl.col("is_primary")).height
    done.created += founders.height
    asks = decided.filter(pl.col("action") == "ask").with_columns(pl.lit(None, dtype=pl.Boolean).alias("is_primary"))
    return pl.concat([links.select(_NOTHING.columns), asks.select(_NOTHING.columns)])


def _founders(entity: Entity, decisions: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """A canonical id for every group that is created, made from its anchor record: group, canonical_id."""
    groups = decisions.filter((pl.col("action") == "create") & pl.col("canonical_id").is_null())
    anchors = groups.select("group").unique(maintain_order=True)
    anchors = anchors.join(
        new.select(pl.col("key").alias("group"), "system", "stream", "source_id"), on="group", maintain_order="left"
    )
    return anchors.select("group", keys.canonical_ids(entity.name, anchors).alias("canonical_id"))


def _is_primary(conn: Connection, entity: Entity, links: pl.DataFrame) -> pl.Series:
    """The first record of a golden record in a (system, stream) is its primary link, unless there is one already."""
    taken = crosswalk.primaries(conn, entity.name, links).with_columns(pl.lit(True).alias("is_taken"))
    place = ["canonical_id", "system", "stream"]
    return (
        links.join(taken, on=place, how="left", maintain_order="left")
        .select(pl.col("is_taken").is_null() & (pl.int_range(pl.len()).over(place) == 0))
        .to_series()
    )


def _looked_up(wanted: pl.DataFrame, rules: MatchRules, kinds: Mapping[str, LeafKind]) -> pl.DataFrame:
    """The values that known records are looked up by (kind = leaf column, value): in normal form, and as they stand,
    for that is how known ones are stored."""
    columns = dict.fromkeys((*rules.unique, *rules.strong, *rules.shared))
    as_it_stands = [
        wanted.select("key", pl.lit(c).alias("kind"), pl.col(c).alias("value")).drop_nulls("value") for c in columns
    ]
    return pl.concat([matching.identifiers(wanted, rules, kinds), *as_it_stands]).unique(["kind", "value"])


def _in_place_of_the_gone(conn: Connection, entity: Entity, links: pl.DataFrame) -> pl.DataFrame:
    """New links with `is_primary` as it is once they took the place of primary ones whose record is gone."""
    twins = links.filter(~pl.col("is_primary"))
    if twins.is_empty() or not crosswalk.follow_the_living(conn, entity.name, staged.staged_table(entity), twins):
        return links
    place = ["system", "stream", "source_id"]
    now = crosswalk.primary_among(conn, entity.name, twins).with_columns(pl.lit(True).alias("_now"))
    joined = links.join(now, on=place, how="left", maintain_order="left")
    return joined.with_columns(pl.col("is_primary") | pl.col("_now").fill_null(False)).drop("_now")


def _survive(
    conn: Connection,
    world: World,
    entity: Entity,
    rows: pl.DataFrame,
    done: Resolved,
    *,
    sync_id: int | None,
) -> tuple[Golden | None, list[str]]:
    """Writes the new golden versions of what `rows` are linked to; gives what their targets may have to hear of, and
    keys with unresolved references."""
    touched = rows.select("canonical_id").drop_nulls().unique()
    if touched.is_empty():
        return None, []
    current = golden.read(conn, entity, touched)
    # of a golden record that is made here, all that is linked to it stands in `rows`, and nothing was ever planned
    known = current.select(pl.col("id").alias("canonical_id"))
    linked = _linked(conn, entity, rows, known).filter(pl.col("is_primary"))
    linked, unresolved = resolve_references(conn, world, entity, linked)
    survived = survivorship.survive(linked, entity, world.mapped(entity), current)
    gone = _deleted(entity, linked)
    differing = survivorship.differences(current, survived)
    records, history = _versions(entity, survived, differing, current, gone)
    golden.write(conn, entity, records, history, sync_id=sync_id, declared=world.landscape.digest)
    done.versions += records.height
    changed = differing.select("id", pl.col("changed").alias("_changed"))
    # nothing can point to a golden record before it is there
    note_dependents(conn, world, entity, changed.join(known, left_on="id", right_on="canonical_id", how="semi"))
    now = pl.concat([records, current.select(records.columns).join(records, on="id", how="anti")])
    to_plan = Golden(
        now,
        is_known=now["id"].is_in(known["canonical_id"].implode()),
        links=linked.select(pl.col("canonical_id").alias("id"), "system", "stream"),
        changed=changed,
    )
    return to_plan, unresolved


def _linked(conn: Connection, entity: Entity, rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Every staged record linked to the golden records of `rows`; read again only for those that are `known`."""
    made = rows.filter(pl.col("canonical_id").is_not_null()).join(known, on="canonical_id", how="anti")
    if known.is_empty():
        return made
    crosswalk.follow_the_living(conn, entity.name, staged.staged_table(entity), known)
    more = staged.linked(conn, entity, known).with_columns(_key())
    return pl.concat([made.select(more.columns), more])


def _deleted(entity: Entity, linked: pl.DataFrame) -> pl.DataFrame:
    """Golden ids whose records in the system of record are all gone (DESIGN 9.12): id, deleted."""
    return (
        linked.filter(pl.col("system") == entity.record)
        .group_by(pl.col("canonical_id").alias("id"))
        .agg(pl.col("deleted").all())
    )


def _versions(
    entity: Entity,
    survived: survivorship.Survived,
    differing: pl.DataFrame,
    current: pl.DataFrame,
    gone: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The golden records that differ from what stands, with their new version, and the history row of each."""
    was = current.select(
        "id", "version", pl.col("deleted").alias("was_deleted"), pl.col("provisional").alias("was_prov")
    )
    rows = (
        survived.frame.join(was, on="id", how="left")
        .join(gone, on="id", how="left")
        .with_columns(pl.col("deleted").fill_null(pl.coalesce("was_deleted", pl.lit(False))))
        .join(differing.select("id", pl.lit(True).alias("is_changed")), on="id", how="left")
    )
    rows = rows.filter(
        pl.col("version").is_null()
        | pl.col("is_changed").fill_null(False)
        | (pl.col("deleted") != pl.col("was_deleted"))
        | pl.col("provisional").list.sort().ne_missing(pl.col("was_prov").list.sort())
    ).with_columns((pl.col("version").fill_null(0) + 1).alias("version"))
    history = (
        rows.select("id", "version")
        .join(differing, on="id", how="left")
        .select("id", "version", pl.col("told").fill_null("[]").alias("changes"))
    )
    return rows.select("id", "version", "deleted", "provisional", *entity.columns), history


def resolve_references(
    conn: Connection, world: World, entity: Entity, linked: pl.DataFrame
) -> tuple[pl.DataFrame, list[str]]:
    """Puts canonical ids in place of reference tokens, in leaves and in lines; gives keys with some left over.

    A token that does not resolve yet is no opinion: its column joins the row's `absent`."""
    unresolved: set[str] = set()
    for column, target in entity.references.items():
        ids = _tokens_to_ids(conn, world, target, linked[column].drop_nulls().unique().to_list())
        linked = linked.join(
            ids.rename({"token": column, "canonical_id": "_id"}), on=column, how="left", maintain_order="left"
        )
        missing = pl.col(column).is_not_null() & pl.col("_id").is_null()
        unresolved.update(linked.filter(missing)["key"].to_list())
        linked = linked.with_columns(
            pl.when(missing).then(pl.concat_list("absent", pl.lit(column))).otherwise("absent").alias("absent"),
            pl.col("_id").alias(column),
        ).drop("_id")
    for column, targets in entity.line_references.items():
        if targets:
            columns = entity.line_columns[column]
            linked = _resolve_lines(conn, world, linked, column, columns, targets, unresolved)
    return linked, sorted(unresolved)


def _tokens_to_ids(conn: Connection, world: World, entity: str, tokens: list[str]) -> pl.DataFrame:
    unique = world.landscape.model[entity].match.unique
    return crosswalk.resolve_tokens(conn, tokens, entity, unique)


def _resolve_lines(
    conn: Connection,
    world: World,
    linked: pl.DataFrame,
    column: str,
    columns: Sequence[str],
    targets: dict[str, str],
    unresolved: set[str],
) -> pl.DataFrame:
    """The same inside a list field: an unresolved line reference stays empty, and its record is tried again."""
    lines = exploded_lines(linked.select(pl.col("key").alias("_key"), column).with_row_index("_row"), column, columns)
    for name, target in targets.items():
        ids = _tokens_to_ids(conn, world, target, lines[name].drop_nulls().unique().to_list())
        ids = ids.rename({"token": name, "canonical_id": "_id"})
        lines = lines.join(ids, on=name, how="left", maintain_order="left")
        unresolved.update(lines.filter(pl.col(name).is_not_null() & pl.col("_id").is_null())["_key"].to_list())
        lines = lines.with_columns(pl.col("_id").alias(name)).drop("_id")
    texts = joined_lines(lines, columns)
    joined = linked.select("key").with_row_index("_row").join(texts, on="_row", how="left", maintain_order="left")
    return linked.with_columns(joined["lines"].alias(column))


def _report_duplicates(conn: Connection, world: World, entity: Entity, twins: pl.DataFrame) -> None:
    """Twins inside one system become findings until a person merges them there (DESIGN 9.7)."""
    queues.open_findings(
        conn,
        twins.select(
            pl.lit("duplicate").alias("kind"),
            pl.lit(entity.name).alias("entity"),
            "canonical_id",
            "system",
            "stream",
            "source_id",
            pl.lit(None, dtype=pl.String).alias("field"),
            pl.lit(None, dtype=pl.String).alias("ours"),
            pl.lit(None, dtype=pl.String).alias("theirs"),
            pl.lit("report").alias("action"),
            pl.format("a second {} record of this {}: {}", "system", pl.lit(entity.name), "because").alias("because"),
        ),
        world.owner_of(entity),
    )


def _report_deleted(conn: Connection, world: World, entity: Entity, gone: pl.DataFrame) -> None:
    """A deletion outside the system of record changes nothing and is a finding (DESIGN 9.12), unless it was ours."""
    if gone.is_empty():
        return
    ours = shadow.archived(conn, entity.name, gone)
    queues.open_findings(
        conn,
        gone.join(ours, on=["system", "stream", "source_id"], how="anti").select(
            pl.lit("deleted_elsewhere").alias("kind"),
            pl.lit(entity.name).alias("entity"),
            "canonical_id",
            "system",
            "stream",
            "source_id",
            pl.lit(None, dtype=pl.String).alias("field"),
            pl.lit(None, dtype=pl.String).alias("ours"),
            pl.lit(None, dtype=pl.String).alias("theirs"),
            pl.lit("report").alias("action"),
            pl.format("deleted in {}, which is not the system of record ({})", "system", pl.lit(entity.record)).alias(
                "because"
            ),
        ),
        world.owner_of(entity),
    )
