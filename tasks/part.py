"""A batch: one entity that a chunk of a stream's records makes, from its candidates to what the gate let through."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from canonical import keys
from canonical.checks import GateVerdict, judge
from canonical.landscape import Makes, Stream
from canonical.mapping.decode import Decoded, decode, decode_list
from canonical.mapping.native import native_values
from canonical.mapping.program import InboundProgram, Mapped
from canonical.model import Entity
from expectations.errors import GateCutOff
from expectations.run import Verdict, run_batch
from expectations.split import count_failing, failing_rows_sql
from staging import backlog, doubts, hierarchy, identity_checks, queues, runs, staged, units
from staging.errors import DatabaseUnavailable
from staging.frames import by_index
from tasks.poison import Poison
from tasks.world import World


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
            kids = backlog.children(conn, self.system, child.stream or "", self.live)
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
            with self.world.transaction() as conn, by_index(conn):
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

        def asked() -> Verdict:
            try:
                return ask()
            except GateCutOff as error:
                raise DatabaseUnavailable(str(error)) from error

        self.found = units.persist(self.world.engine, f"judge batch {self.batch}", asked)
        self._must_be_whole(self.found.total)
        self.verdict = judge(
            self.found.results, self.found.total, self.world.tolerance(self.entity), self.found.failing_rows
        )
        return self.verdict

    def _must_be_whole(self, candidates: int) -> None:
        """A server that stops as if without power empties what it does not log, candidates among it, while we may not
        have noticed. Their batch is no empty one: whoever does the step makes it again."""
        if candidates < self.rows.height:
            raise DatabaseUnavailable(f"{self.rows.height - candidates:,} candidates of batch {self.batch} are gone")

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
        self._must_be_whole(staged.count_candidates(conn, self.entity, self.batch))
        table, owner = staged.candidate_table(self.entity), self.world.owner_of(self.entity)
        quarantined = len(self.refused)
        for result in self.verdict.failing:
            if result.check.on_fail != "quarantine":
                continue
            failing = failing_rows_sql(result.check, f"{self.entity.name}_candidate", self.batch)
            with by_index(conn):
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
