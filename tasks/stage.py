"""Stage: map what landed into canonical columns, let the gate judge it, merge what passed (DESIGN 5.2-5.3, 9.1-9.3).

A chunk of landed records is one batch an entity. Its candidates are committed first, because the gate reads them on a
connection of its own; then the split, the merge and the records' new states commit together. Killed in between, the
records are still `landed` and the batch is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from canonical import keys
from canonical.checks import GateVerdict, judge
from canonical.expressions import compile_expression
from canonical.landscape import Makes, Stream
from canonical.mapping.decode import Decoded, decode, decode_list
from canonical.mapping.native import native_values
from canonical.mapping.program import InboundProgram, Mapped
from canonical.model import Entity
from expectations.errors import GateError
from expectations.run import Verdict, run_batch
from expectations.split import count_failing, failing_rows_sql
from staging import doubts, hierarchy, identity_checks, landing, locks, queues, runs, staged
from staging.crash import crash_point
from tasks import poison
from tasks.poison import Poison
from tasks.world import World

CHUNK = 100_000


@dataclass
class Staged:
    """What became of the landed records of one stream."""

    system: str
    stream: str
    mapped: int = 0
    passed: int = 0
    quarantined: int = 0
    ignored: int = 0
    tombstones: int = 0
    field_problems: int = 0
    batches: list[int] = field(default_factory=list)
    stopped: str | None = None
    """Why the gate stopped a batch; None: it did not."""
    docs: str | None = None
    poison: Poison = field(default_factory=Poison)


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
    with locks.lane(world.engine, f"stage:{system}/{stream}"):
        _clear_leftovers(world, system, stream)
        with world.transaction() as conn:
            landing.rework(conn, system, stream, digest)
            identity_checks.look_again(conn, system, stream)
            for child in world.children(system, stream):
                landing.dirty_parents(conn, system, child.name, stream, digest)
            for makes in declared.makes:
                hierarchy.look_again(conn, makes.entity, system, stream)
            if not declared.makes:
                landing.ignore_landed(conn, system, stream, digest)
        after = ""
        while done.stopped is None:
            with world.transaction() as conn:
                rows = landing.work(conn, system, stream, CHUNK, after)
            if rows.is_empty():
                break
            after = rows["source_id"][-1]
            if only is not None:
                rows = rows.filter(pl.col("source_id").is_in(list(only)))
                if rows.is_empty():
                    continue
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
        landing.set_state(conn, system, stream.name, rows.select("source_id", "raw_id", state.alias("state")), digest)
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
            "entity": parts[0].entity.name,
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


class Part:
    """One entity that a chunk of a stream's records makes: one batch."""

    def __init__(
        self,
        world: World,
        system: str,
        stream: Stream,
        makes: Makes,
        live: pl.DataFrame,
        payloads: list[bytes],
        digest: str,
        *,
        sync_id: int | None,
    ) -> None:
        self.world, self.system, self.stream, self.digest, self.sync_id = world, system, stream, digest, sync_id
        self.entity: Entity = world.landscape.model[makes.entity]
        self.live = live
        self.program: InboundProgram = world.inbound(system, stream.name, makes.entity)
        decoded = decode(payloads, self.program.paths)
        self.mapped: Mapped = self.program.run(decoded, self._lines(payloads))
        self.refused = decoded.refused
        self.native = self._native(payloads)
        self.batch = 0
        self.rows = pl.DataFrame()
        self.found: Verdict | None = None
        self.verdict = GateVerdict("pass", "nothing to judge", ())

    def _lines(self, payloads: list[bytes]) -> Decoded | None:
        """The lines of each record: from inside its own payload, or from the child stream's records."""
        child = self.program.child
        if child is None:
            return None
        if child.list_path is not None:
            return decode_list(payloads, child.list_path, child.paths)
        with self.world.transaction() as conn:
            kids = landing.children(conn, self.system, child.stream or "", self.live)
        rows = self.live.select("source_id").with_row_index("_row")
        kids = kids.join(rows, left_on="parent_id", right_on="source_id", how="inner", maintain_order="left")
        decoded = decode([text.encode() for text in kids["payload"].to_list()], child.paths)
        return Decoded(decoded.frame.with_columns(kids["_row"].cast(pl.UInt32)), decoded.absent, decoded.refused)

    def _native(self, payloads: list[bytes]) -> pl.Series:
        """What the record holds at the paths that we write there ourselves, as JSON; null where we never write."""
        program = self.world.outbound_if_any(self.entity.name, self.system, self.stream.name)
        if program is None:
            return pl.Series("native", [None] * len(payloads), dtype=pl.String)
        return native_values(payloads, program)

    def candidates(self) -> pl.DataFrame:
        """The batch as rows of the candidate table."""
        unread = {row for row, _, _ in self.refused}
        frame = self.mapped.frame.with_columns(self.mapped.absent.alias("absent"))
        frame = frame.filter(~pl.col("_row").is_in(list(unread)))
        missing = [pl.lit(None, dtype=pl.String).alias(c) for c in self.entity.columns if c not in frame.columns]
        unmapped = [c for c in self.entity.columns if c not in self.program.columns]
        frame = frame.with_columns(missing).with_columns(
            pl.concat_list("absent", pl.lit(unmapped, dtype=pl.List(pl.String))).alias("absent")
        )
        record = self.live.select("source_id", "raw_id", pl.col("changed").alias("changed_at")).with_columns(
            self.native.alias("native")
        )
        frame = frame.join(record.with_row_index("_row"), on="_row", how="left", maintain_order="left")
        fatal = self.mapped.problems.filter("fatal").select("_row", "column", "rule", "reason")
        with self.world.transaction() as conn:
            circles = hierarchy.circles(conn, self.entity, self.system, self.stream.name, frame)
        fatal = pl.concat([fatal, circles])
        told = fatal.group_by("_row").agg(
            pl.struct("column", "rule", "reason").struct.json_encode().str.join(",").alias("told")
        )
        frame = frame.join(told, on="_row", how="left", maintain_order="left")
        hashed = frame.with_columns(
            pl.col("absent").list.sort().list.join(",").alias("_absent"), pl.col("native").alias("_native")
        )
        return frame.select(
            pl.lit(self.batch, pl.Int64).alias("batch_id"),
            pl.col("_row").cast(pl.Int64),
            pl.lit(self.system).alias("system"),
            pl.lit(self.stream.name).alias("stream"),
            "source_id",
            *self.entity.columns,
            "absent",
            "raw_id",
            keys.value_hashes(hashed, [*self.entity.columns, "_absent", "_native"]).alias("value_hash"),
            "native",
            pl.lit(self.digest).alias("declared"),
            "changed_at",
            pl.when(pl.col("told").is_not_null()).then(pl.format("[{}]", "told")).alias("problems"),
        )

    def store(self) -> None:
        """Commits the candidates, so that the gate can read them."""
        with self.world.transaction() as conn:
            self.batch = runs.begin_batch(
                conn,
                sync_id=self.sync_id,
                entity=self.entity.name,
                system=self.system,
                stream=self.stream.name,
                declared=self.digest,
            )
            self.rows = self.candidates()
            staged.write_candidates(conn, self.entity, self.rows)

    @property
    def docs(self) -> str | None:
        """This batch's Data Docs page."""
        return str(self.found.page) if self.found and self.found.page else None

    def judge(self, docs_dir: Path | None) -> GateVerdict:
        """Lets Great Expectations judge the candidates; an empty batch needs no judge."""
        if self.rows.is_empty():
            return self.verdict
        checks = self.world.checks(self.entity, self.program.columns)
        if self.world.is_in_one:
            # nothing is committed for the suite's own connection to see: the split's own count is the verdict, which
            # the gate holds the suite to anyway
            with self.world.transaction() as conn:
                results, total, rows = count_failing(conn, checks, f"{self.entity.name}_candidate", self.batch)
            self.verdict = judge(results, total, self.world.tolerance(self.entity), rows)
            return self.verdict
        system = self.world.landscape.systems[self.system]
        ask = partial(
            run_batch,
            self.world.url,
            schema="staging",
            table=f"{self.entity.name}_candidate",
            batch_id=self.batch,
            checks=checks,
            run_name=f"{self.system}/{self.stream.name} to {self.entity.name}, batch {self.batch}",
            docs_dir=docs_dir,
            meta={
                "entity": self.entity.name,
                "system": self.system,
                "stream": self.stream.name,
                "batch": self.batch,
                "owner": self.world.owner_of(self.entity) or system.owner,
            },
        )
        try:
            self.found = ask()
        except GateError:
            # its own session may have been ended in the middle of it: what it asks for is asked once more
            self.found = ask()
        self.verdict = judge(
            self.found.results, self.found.total, self.world.tolerance(self.entity), self.found.failing_rows
        )
        return self.verdict

    def stop(self) -> None:
        """Closes the batch without effect: its records stay landed until a person has looked."""
        with self.world.transaction() as conn:
            staged.drop_candidates(conn, self.entity, self.batch)
            runs.end_batch(
                conn,
                self.batch,
                "stopped" if self.verdict.action == "stop" else "abandoned",
                mapped=self.rows.height,
                passed=0,
                quarantined=0,
                ignored=0,
                tombstones=0,
                verdict=summary(self.verdict),
                docs=self.docs,
            )

    def merge(self, conn: Any, gone: list[str], done: Staged) -> set[str]:
        """Splits, merges and closes the batch; gives the source ids that are quarantined."""
        table, owner = staged.candidate_table(self.entity), self.world.owner_of(self.entity)
        quarantined = len(self.refused)
        for result in self.verdict.failing:
            if result.check.on_fail != "quarantine":
                continue
            failing = failing_rows_sql(result.check, f"{self.entity.name}_candidate", self.batch)
            quarantined += staged.mark_failed(conn, self.entity, self.batch, failing)
            queues.quarantine_failing(
                conn, failing, entity=self.entity.name, batch_id=self.batch, owner=owner, declared=self.digest
            )
            if result.check.name == identity_checks.RULE:
                identity_checks.report_reused(conn, self.entity.name, self.batch, "it is another record than before")
        entries = self._entries()
        queues.quarantine(conn, entries, owner=owner, declared=self.digest)
        queues.resolve_quarantine(conn, self.batch, table, self.entity.name)
        failed = staged.failed_ids(conn, self.entity, self.batch)
        failed.update(self.live["source_id"][row] for row, _, _ in self.refused)
        if doubtful := doubts.open_ids(conn, "id_reused", self.system, self.stream.name) - failed:
            well = sorted(doubtful.intersection(self.live["source_id"]))
            doubts.close_records(conn, "id_reused", self.system, self.stream.name, well, "it is the same again")
        passed = staged.merge(conn, self.entity, self.batch)
        outside = self._outside()
        staged.bury(conn, self.entity, self.system, self.stream.name, [*gone, *outside], self.batch)
        if outside:
            because = f"the record makes no {self.entity.name} any more"
            queues.close_gone(conn, self.system, self.stream.name, outside, because, entity=self.entity.name)
        staged.drop_candidates(conn, self.entity, self.batch)
        total = self.live.height
        runs.end_batch(
            conn,
            self.batch,
            "split" if quarantined else "passed",
            mapped=total,
            passed=passed,
            quarantined=quarantined,
            ignored=self.mapped.ignored,
            tombstones=len(gone),
            verdict=summary(self.verdict),
            docs=self.docs,
        )
        done.mapped += total
        done.passed += passed
        done.quarantined += quarantined
        done.ignored += self.mapped.ignored
        done.field_problems += entries.filter(pl.col("scope") == "field").height
        done.batches.append(self.batch)
        return failed

    def _outside(self) -> list[str]:
        """Records that the stream's condition leaves out (they may have been in before)."""
        if not self.mapped.ignored:
            return []
        rows = self.live.select("source_id").with_row_index("_row")
        return rows.join(self.mapped.frame.select("_row"), on="_row", how="anti")["source_id"].to_list()

    def _entries(self) -> pl.DataFrame:
        """Quarantine entries of single fields, and of records that could not be read at all."""
        record = self.live.select("source_id", "raw_id").with_row_index("_row")
        fields = self.mapped.problems.filter(~pl.col("fatal"))
        problems = fields.join(record, on="_row", how="inner").select(
            "source_id",
            "raw_id",
            pl.lit("field").alias("scope"),
            "rule",
            pl.col("column").alias("field"),
            "reason",
        )
        unread = pl.DataFrame(
            [
                (self.live["source_id"][row], self.live["raw_id"][row], "record", rule, None, reason)
                for row, rule, reason in self.refused
            ],
            schema=problems.schema,
            orient="row",
        )
        return pl.concat([problems, unread]).with_columns(
            pl.lit(self.system).alias("system"),
            pl.lit(self.stream.name).alias("stream"),
            pl.lit(self.entity.name).alias("entity"),
            pl.lit(self.batch, pl.Int64).alias("batch_id"),
        )


def summary(verdict: GateVerdict) -> dict[str, Any]:
    """The gate's verdict as the ledger keeps it."""
    return {
        "action": verdict.action,
        "because": verdict.because,
        "failing": [
            {"rule": r.check.name, "means": r.check.means, "rows": r.unexpected, "on_fail": r.check.on_fail}
            for r in verdict.failing
        ],
    }
