"""Stage: map what landed into canonical columns, let the gate judge it, merge what passed (DESIGN 5.2-5.3, 9.1-9.3).

A chunk of landed records is one batch an entity. Its candidates are committed first, because the gate reads them on a
connection of its own; then the split, the merge and the records' new states commit together. Killed in between, the
records are still `landed` and the batch is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from canonical.expressions import compile_expression
from canonical.landscape import Stream
from canonical.mapping.decode import decode
from staging import backlog, doubts, hierarchy, identity_checks, locks, queues, runs, staged
from staging.crash import crash_point
from tasks import poison
from tasks.part import Part, Staged
from tasks.world import World

CHUNK = 100_000


def stage(
    world: World,
    system: str,
    stream: str,
    *,
    sync_id: int | None,
    docs_dir: Path | None,
    only: Sequence[str] | None = None,
) -> Staged:
    """Takes all landed work of a stream, whichever run landed it, through mapping and gate into the staging area.
    `only`: of these source ids."""
    done = Staged(system, stream)
    declared = world.landscape.systems[system].streams[stream]
    if declared.child_of is not None:
        return done
    digest = world.declared(system, stream)
    parts = [child.name for child in world.children(system, stream)]
    with locks.lane(world.engine, f"stage:{system}/{stream}"):
        _clear_leftovers(world, system, stream)
        with world.transaction() as conn:
            backlog.rework(conn, system, stream, digest)
            identity_checks.look_again(conn, system, stream)
            for part in parts:
                backlog.dirty_parents(conn, system, part, stream, digest)
            for makes in declared.makes:
                hierarchy.look_again(conn, makes.entity, system, stream)
            if not declared.makes:
                backlog.ignore_landed(conn, system, stream, digest)
        after = ""
        while done.stopped is None:
            with world.transaction() as conn:
                rows = backlog.work(conn, system, stream, CHUNK, after, only, parts)
            if rows.is_empty():
                break
            after = rows["source_id"][-1]
            _stage_chunk(world, declared, system, rows, digest, done, sync_id=sync_id, docs_dir=docs_dir)
    return done


def _clear_leftovers(world: World, system: str, stream: str) -> None:
    """Batches that a dead process left open are abandoned; their records are still landed."""
    with world.transaction() as conn:
        for batch_id, entity in runs.open_batches(conn, system, stream):
            staged.drop_candidates(conn, world.landscape.model[entity], batch_id)
            runs.abandon_batch(conn, batch_id)


def _stage_chunk(
    world: World,
    stream: Stream,
    system: str,
    rows: pl.DataFrame,
    digest: str,
    done: Staged,
    *,
    sync_id: int | None,
    docs_dir: Path | None,
) -> None:
    is_gone = rows["deleted"] | _said_gone(stream, rows)
    live, gone = rows.filter(~is_gone), rows.filter(is_gone)["source_id"].to_list()
    payloads = [text.encode() for text in live["payload"].to_list()]
    parts: list[Part] = []
    try:
        for makes in stream.makes:
            parts.append(Part(world, system, stream, makes, live, payloads, digest, sync_id=sync_id))
            parts[-1].store()
    except (Exception, pl.exceptions.PanicException) as error:
        for part in parts:
            part.stop()
        if not poison.is_of_a_record(error):
            raise
        for some in poison.to_try_again(world, stream, system, rows, digest, done.poison, error):
            _stage_chunk(world, stream, system, some, digest, done, sync_id=sync_id, docs_dir=docs_dir)
        return
    crash_point("stage.candidates")
    failed: set[str] = set()
    for part in parts:
        verdict = part.judge(docs_dir)
        done.docs = part.docs or done.docs
        if verdict.action == "stop":
            done.stopped = f"{part.entity.name} from {system}/{stream.name}: {verdict.because}"
    done.stopped = done.stopped or _rewrites_too_much(world, stream, system, digest, parts)
    if done.stopped:
        for part in parts:
            part.stop()
        return
    with world.transaction() as conn:
        for part in parts:
            failed |= part.merge(conn, gone, done)
        state = pl.when(pl.col("source_id").is_in(list(failed))).then(pl.lit("quarantined")).otherwise(pl.lit("staged"))
        backlog.set_state(conn, system, stream.name, rows.select("source_id", "raw_id", state.alias("state")), digest)
        if gone:
            queues.close_gone(conn, system, stream.name, gone, "the record is gone at its source")
        crash_point("stage.merging")
    crash_point("stage.merged")
    done.tombstones += len(gone)


def _rewrites_too_much(world: World, stream: Stream, system: str, digest: str, parts: Sequence[Part]) -> str | None:
    """Why new declarations wait for a person: they would rewrite more records than the brake lets change at once,
    although no system said anything new (fault matrix 59). None: they do not, or a person has agreed."""
    with world.transaction() as conn:
        counts = [staged.rewritten(conn, part.entity, part.batch) for part in parts if part.batch]
        changed, of = (max(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
        limit = world.brake_of(system, stream.name).changes
        if limit.allows(changed, of) or doubts.is_rewrite_accepted(conn, system, stream.name, digest):
            if of:
                doubts.close(conn, "mass_rewrite", system, stream.name, "what is declared now rewrites few records")
            return None
        because = f"new declarations would rewrite {changed:,} of {of:,} records of {system}/{stream.name}"
        told = {
            "kind": "mass_rewrite",
            "entity": stream.subject,
            "system": system,
            "stream": stream.name,
            "ours": str(changed),
            "theirs": digest,
            "because": because,
        }
        doubts.report(conn, world.owner_of_system(system), [told])
    return f"{because}; the last good values stay until a person accepts it (concord findings list)"


def _said_gone(stream: Stream, rows: pl.DataFrame) -> pl.Series:
    """Which records state themselves that they are gone (`deleted_when`), where the connector does not say it."""
    if stream.deleted_when is None:
        return pl.Series("gone", [False] * rows.height, dtype=pl.Boolean)
    condition = compile_expression(stream.deleted_when, None)
    decoded = decode([text.encode() for text in rows["payload"].to_list()], condition.columns)
    return decoded.frame.select(condition.expr.alias("gone")).to_series()
