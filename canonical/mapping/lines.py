"""A list field filled from a child stream, or from a list inside the record: one JSON text for each record.

The text is compact JSON: an array of objects with sorted keys, ordered by the line key. Every value is the text of its
leaf's canonical form; empty ones are left out; a reference inside a line is its token. An empty list is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from canonical.landscape import Stream, System
from canonical.mapping.columns import PROBLEMS, Column, Columns, Done, compile_columns, run_columns
from canonical.mapping.decode import Decoded
from canonical.mapping.functions.base import shown
from canonical.mapping.payloads import quoted
from canonical.model import Entity, Model
from canonical.problems import Problem


@dataclass(frozen=True)
class ChildProgram:
    """How the lines of a record are made."""

    field: str
    """The list field, which is also its column."""
    stream: str | None
    """The child stream whose rows are the lines, or"""
    list_path: str | None
    """the list inside the record whose elements they are."""
    paths: tuple[str, ...]
    """What to decode of each line."""
    key: str | None
    """The leaf column that identifies a line within its record."""
    is_numbered: bool
    required: bool
    is_fatal: bool
    work: Columns

    @property
    def marks(self) -> tuple[str, ...]:
        """Paths of the record itself that tell whether it mentions the list at all."""
        return (self.list_path,) if self.list_path else ()

    def attach(
        self, parents: Mapping[str, pl.Series], absent: Mapping[str, pl.Series], lines: Decoded | None
    ) -> tuple[pl.Series, pl.Series | None, pl.DataFrame]:
        """The list column of the records in `parents` (with `_row`), where it is unsaid, and the lines' problems."""
        index = parents["_row"]
        if lines is None:
            nothing = pl.Series(self.field, [None], dtype=pl.String).new_from_index(0, len(index))
            everywhere = pl.Series([True]).new_from_index(0, len(index))
            return nothing, everywhere if len(index) else None, pl.DataFrame(schema=PROBLEMS)
        texts, problems = self._texts(parents, lines)
        own = pl.DataFrame({"_row": index})
        text = own.join(texts, on="_row", how="left", maintain_order="left")["lines"].rename(self.field)
        unsaid = absent.get(self.list_path) if self.list_path else None
        if not self.is_fatal and problems.height:
            failed = index.is_in(problems["_row"].to_list())
            text = text.set(failed, None)
            unsaid = failed if unsaid is None else unsaid | failed
        if self.required:
            is_missing = text.is_null() & ~index.is_in(problems["_row"].to_list())
            why = pl.lit("expected at least one line, found none")
            missing = own.filter(is_missing).select(
                "_row", column=pl.lit(self.field), rule=pl.lit("required"), reason=why, fatal=pl.lit(value=True)
            )
            problems = pl.concat([problems, missing])
        return text, unsaid, problems

    def _texts(self, parents: Mapping[str, pl.Series], lines: Decoded) -> tuple[pl.DataFrame, pl.DataFrame]:
        """(_row, lines) of the records that have any, and the problems of their lines."""
        index = parents["_row"]
        is_own = lines.frame["_row"].is_in(index.to_list())
        frame = lines.frame.filter(is_own)
        absent = {path: mask.filter(is_own) for path, mask in lines.absent.items()}
        outer_names = {c.currency.outer for c in self.work.compiled if c.currency and c.currency.outer}
        outer_frame = pl.DataFrame({"_row": index, **{str(n): parents[str(n)] for n in outer_names}})
        joined = frame.select("_row").join(outer_frame, on="_row", how="left", maintain_order="left")
        done = run_columns(self.work, frame, absent, {str(n): joined[str(n)] for n in outer_names})
        problems = [self._problems(done, frame["_row"]), self._refused(lines, index)]
        made = pl.DataFrame({"_row": frame["_row"], **done.values})
        if self.key is not None and made.height:
            problems.append(self._twice(made))
        return self._json(made), pl.concat(problems)

    def _problems(self, done: Done, rows: pl.Series) -> pl.DataFrame:
        frames = [pl.DataFrame(schema=PROBLEMS)]
        nameless = pl.Series([None], dtype=pl.String).new_from_index(0, len(rows))
        key = done.values[self.key] if self.key else nameless
        for name, bad, rules, is_fatal in done.bad:
            found = pl.DataFrame({"_row": rows, "rule": rules, "bad": bad, "key": key})
            label = pl.lit("line ") + shown(pl.col("key")).fill_null("without key") + pl.lit(f", {name}: ")
            fatal = is_fatal and self.is_fatal
            frames.append(
                found.filter(bad.is_not_null()).select(
                    "_row",
                    pl.lit(self.field).alias("column"),
                    "rule",
                    reason=label + pl.col("bad"),
                    fatal=pl.lit(fatal),
                )
            )
        return pl.concat(frames)

    def _refused(self, lines: Decoded, index: pl.Series) -> pl.DataFrame:
        rows = lines.frame["_row"]
        data = [(rows[at], self.field, rule, f"a line: {reason}", self.is_fatal) for at, rule, reason in lines.refused]
        found = pl.DataFrame(data, schema=PROBLEMS, orient="row")
        return found.filter(found["_row"].is_in(index.to_list()))

    def _twice(self, made: pl.DataFrame) -> pl.DataFrame:
        key = str(self.key)
        repeated = (
            made.group_by("_row", key, maintain_order=True).len().filter((pl.col("len") > 1) | pl.col(key).is_null())
        )
        reason = pl.lit("expected each line key once, found ") + shown(pl.col(key)) + pl.lit(" twice")
        without = pl.lit("expected a line key, found none")
        return (
            repeated.with_columns(reason=pl.when(pl.col(key).is_null()).then(without).otherwise(reason))
            .unique("_row", keep="first", maintain_order=True)
            .select(
                "_row",
                column=pl.lit(self.field),
                rule=pl.lit("line_key"),
                reason=pl.col("reason"),
                fatal=pl.lit(self.is_fatal),
            )
        )

    def _json(self, made: pl.DataFrame) -> pl.DataFrame:
        if self.key is not None:
            order = pl.col(self.key).cast(pl.Int64, strict=False) if self.is_numbered else pl.col(self.key)
            made = made.sort("_row", order, maintain_order=True)
        return joined_lines(made, [name for name in made.columns if name != "_row"])


def joined_lines(lines: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Lines as columns beside `_row`, the record they stand in → (_row, lines): the JSON text of each record's."""
    members = [pl.lit(f'"{name}":') + quoted(pl.col(name)) for name in sorted(columns)]
    line = pl.lit("{") + pl.concat_str(members, separator=",", ignore_nulls=True) + pl.lit("}")
    return (
        lines.select("_row", line=line)
        .group_by("_row", maintain_order=True)
        .agg(pl.col("line").str.join(","))
        .select("_row", lines=pl.lit("[") + pl.col("line") + pl.lit("]"))
    )


def exploded_lines(frame: pl.DataFrame, column: str, columns: Sequence[str]) -> pl.DataFrame:
    """The lines in a column of `joined_lines` text, one a row, as columns beside all else the frame has."""
    line = pl.List(pl.Struct(dict.fromkeys(columns, pl.String)))
    read = frame.with_columns(pl.col(column).str.json_decode(line)).explode(column)
    return read.drop_nulls(column).unnest(column)


def compile_child(
    columns: Mapping[str, Sequence[Column]],
    system: System,
    stream: Stream,
    entity: Entity,
    model: Model,
    timezone: str,
    outer: Columns,
    problems: list[Problem],
) -> ChildProgram | None:
    """Compile the rows that fill a list field; what is wrong is added to `problems`. One list field a stream."""
    if not columns:
        return None
    name, rows = next(iter(columns.items()))
    if len(columns) > 1:
        problems.append(_wrong(next(iter(columns[list(columns)[1]])), "one list field", ", ".join(columns)))
        return None
    origin = _origin(rows, stream, problems)
    if origin is None:
        return None
    child, list_path = origin
    work = compile_columns(rows, system, child or stream.name, entity, model, timezone, problems, outer)
    declared = entity.by_name[name]
    key = declared.key
    by_column = {column.leaf.column: column.leaf for column in rows}
    if key is not None and key not in by_column:
        problems.append(_wrong(rows[0], f"a row for the line key {name}.{key}", "none"))
        return None
    is_numbered = key is not None and by_column[key].kind == "integer"
    return ChildProgram(
        name,
        child,
        list_path,
        work.paths,
        key,
        is_numbered,
        declared.required,
        declared.required or declared.on_bad == "record",
        work,
    )


def _origin(rows: Sequence[Column], stream: Stream, problems: list[Problem]) -> tuple[str | None, str | None] | None:
    """The child stream, or the list path inside the record, that all rows share; sources become paths in a line."""
    origins: dict[tuple[str | None, str | None], None] = {}
    for column in rows:
        inside: list[str] = []
        for source in column.sources:
            if stream.name not in column.streams:
                origins[next(iter(column.streams)), None] = None
                inside.append(source)
                continue
            list_path, brackets, rest = source.partition("[].")
            if not brackets:
                problems.append(_wrong(column, "a field of a child stream, or LIST[].FIELD", column.row.source_field))
                return None
            origins[None, list_path] = None
            inside.append(rest)
        column.sources = tuple(inside)
    if len(origins) != 1:
        found = ", ".join(str(child or path) for child, path in origins) or "none"
        problems.append(_wrong(rows[0], "one list that all lines come from", found))
        return None
    return next(iter(origins))


def _wrong(column: Column, expected: str, found: str) -> Problem:
    row = column.row
    return Problem(row.file, row.line, f"row {row.line}, column source_field", expected, found)
