"""A sheet's inbound rows compiled for one stream and entity, and run on decoded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from canonical.landscape import Stream, System
from canonical.mapping.columns import (
    Column,
    Columns,
    compile_columns,
    no_opinions,
    problem_frame,
    run_columns,
)
from canonical.mapping.decode import Decoded
from canonical.mapping.functions.references import close
from canonical.mapping.lines import ChildProgram, compile_child
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity, Field, Model
from canonical.problems import Problem, Refused


@dataclass(frozen=True)
class Mapped:
    """A batch of records as candidates of one entity."""

    frame: pl.DataFrame
    """The mapped leaf columns (String, canonical form) and `_row` (UInt32): the record it was made from."""
    absent: pl.Series
    """List(String), one a row of `frame`: mapped columns on which this record has no opinion."""
    problems: pl.DataFrame
    """_row UInt32, column, rule, reason, fatal Boolean: what could not be mapped. Fatal ones cost the record."""
    ignored: int = 0
    """Records that make no such entity (`when` is false)."""


@dataclass(frozen=True)
class InboundProgram:
    """How a stream's records become candidates of an entity."""

    system: str
    stream: str
    entity: str
    when: str | None
    paths: tuple[str, ...]
    """The source paths to decode."""
    columns: tuple[str, ...]
    """The leaf columns it maps."""
    child: ChildProgram | None
    work: Columns
    condition: pl.Expr | None

    def run(self, parent: Decoded, lines: Decoded | None = None) -> Mapped:
        """Map a batch. `lines` are the decoded rows of `child`, with a column `_row` that names the parent's row."""
        rows, ignored = self._kept(parent)
        frame = parent.frame if rows is None else parent.frame[rows]
        absent = {p: (a if rows is None else a.gather(rows)) for p, a in parent.absent.items()}
        index = pl.Series("_row", range(frame.height), dtype=pl.UInt32) if rows is None else rows.rename("_row")
        done = run_columns(self.work, frame, absent)
        data = {"_row": index, **done.values}
        problems = [problem_frame(done, index)]
        opinions = dict(done.no_opinion)
        if self.child is not None:
            text, unsaid, bad = self.child.attach(data, absent, lines)
            data[self.child.field] = text
            if unsaid is not None:
                opinions[self.child.field] = unsaid
            problems.append(bad)
        return Mapped(
            pl.DataFrame(data), no_opinions(opinions, frame.height), pl.concat(problems, how="vertical"), ignored
        )

    def _kept(self, parent: Decoded) -> tuple[pl.Series | None, int]:
        """The rows that make this entity (None: all), and how many records make none."""
        keep: pl.Series | None = None
        if self.condition is not None:
            keep = parent.frame.select(self.condition.alias("keep"))["keep"].fill_null(value=False)
        refused = [row for row, _, _ in parent.refused]
        if keep is None and not refused:
            return None, 0
        if keep is None:
            keep = pl.Series("keep", [True]).new_from_index(0, parent.frame.height)
        read = keep.scatter(refused, False) if refused else keep
        kept = int(read.sum())
        ignored = parent.frame.height - len(refused) - kept
        return (None if kept == parent.frame.height else read.arg_true()), ignored


def compile_inbound(
    rows: Sequence[SheetRow],
    system: System,
    stream: Stream,
    entity: Entity,
    when: str | None,
    model: Model,
    timezone: str,
) -> InboundProgram:
    """Compile the rows that lead from a stream (and its child stream) to an entity; raises `Refused` with all problems.

    Rows of other systems, streams and entities are passed over, so a whole sheet may be given. `timezone` is the
    landscape's; times without an offset are read in the *system's* zone, or in one that the rule names.
    """
    problems: list[Problem] = []
    own, lines = _sorted_out(rows, system, stream, entity, problems)
    work = compile_columns(own, system, stream.name, entity, model, timezone, problems)
    child = compile_child(lines, system, stream, entity, model, timezone, work, problems)
    condition, needed = _condition(when, stream, problems)
    if problems:
        raise Refused(problems)
    paths = dict.fromkeys((*work.paths, *(child.marks if child else ()), *needed))
    columns = (*work.columns, *((child.field,) if child else ()))
    return InboundProgram(system.name, stream.name, entity.name, when, tuple(paths), columns, child, work, condition)


def _condition(when: str | None, stream: Stream, problems: list[Problem]) -> tuple[pl.Expr | None, tuple[str, ...]]:
    if when is None:
        return None, ()
    from canonical.expressions import ExpressionError, compile_expression

    try:
        compiled = compile_expression(when, None)
    except ExpressionError as error:
        where = f"streams.{stream.name}.makes.when"
        problems.append(Problem("landscape.yaml", None, where, error.expected, error.found, error.suggestion))
        return None, ()
    return compiled.expr, compiled.columns


def _sorted_out(
    rows: Sequence[SheetRow], system: System, stream: Stream, entity: Entity, problems: list[Problem]
) -> tuple[list[Column], dict[str, list[Column]]]:
    """The rows for the entity's own leaves, and those for each of its lists, with their sources taken apart."""
    own: list[Column] = []
    lines: dict[str, list[Column]] = {}
    children = {s.name for s in system.streams.values() if s.child_of and s.child_of.stream == stream.name}
    seen: set[str] = set()
    for row in rows:
        if row.source_system != system.name or row.target_system != "canonical":
            continue
        name, _, path = row.target_field.partition(".")
        if name != entity.name:
            continue
        streams = {source.partition(".")[0] for source in row.sources}
        if streams and not streams <= {stream.name, *children}:
            continue
        column = _column(row, path, entity, problems)
        if column is None:
            continue
        if path in seen:
            problems.append(_refusal(row, "target_field", "each target once", f"{row.target_field} twice"))
        seen.add(path)
        if column.field.type == "list":
            lines.setdefault(column.field.name, []).append(column)
            column.streams.update(streams)
        elif streams & children:
            problems.append(
                _refusal(row, "source_field", f"a field of {stream.name}", f"{row.source_field}, of a child")
            )
        else:
            own.append(column)
    return own, lines


def _column(row: SheetRow, path: str, entity: Entity, problems: list[Problem]) -> Column | None:
    sources = row.paths
    leaf = entity.by_path.get(path)
    if leaf is not None and leaf.kind != "lines":
        return Column(row, leaf, entity.by_name[leaf.field], sources)
    head, _, rest = path.partition(".")
    parent = entity.by_name.get(head)
    if parent is not None and parent.type == "list":
        below = next((x for f in parent.of for x in f.leaves if x.path == rest), None)
        if below is not None:
            return Column(row, below, parent, sources, _line_field(parent, below.field))
        known = [f"{head}.{x.path}" for f in parent.of for x in f.leaves]
    else:
        known = [p for p, found in entity.by_path.items() if found.kind != "lines"]
    hint = close(path, known)
    problems.append(_refusal(row, "target_field", f"a field of {entity.name}", repr(row.target_field), hint))
    return None


def _line_field(parent: Field, name: str) -> Field:
    return next(f for f in parent.of if f.name == name)


def _refusal(row: SheetRow, column: str, expected: str, found: str, hint: str | None = None) -> Problem:
    return Problem(row.file, row.line, f"row {row.line}, column {column}", expected, found, hint)
