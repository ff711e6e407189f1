"""Rows of a sheet as compiled columns: what each reads, its steps, and the canonical form that its values must have.

The same machinery maps a record's own leaves and, with the fields of a list, its lines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from canonical.landscape import System
from canonical.mapping.functions.base import BadRule, Context, Outcome, Step
from canonical.mapping.functions.numbers import currencies, enforce_currency, enforce_money
from canonical.mapping.kinds import enforce, within
from canonical.mapping.paths import BadPath, parse_path
from canonical.mapping.pipeline import compile_rule, first_reason, is_blank, run_steps
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity, Field, Leaf, Model
from canonical.problems import Problem

PROBLEMS: Final = {"_row": pl.UInt32, "column": pl.String, "rule": pl.String, "reason": pl.String, "fatal": pl.Boolean}


@dataclass(slots=True)
class Column:
    """A row of the sheet on its way to a leaf."""

    row: SheetRow
    leaf: Leaf
    field: Field
    """The entity's field; for a line's leaf the list."""
    sources: tuple[str, ...]
    line_field: Field | None = None
    streams: set[str] = dataclasses.field(default_factory=set)

    @property
    def declared(self) -> Field:
        """The field that declares this leaf's own type."""
        return self.line_field or self.field


@dataclass(frozen=True, slots=True)
class Currency:
    """Where an amount's currency is said. Exactly one is not None."""

    code: str | None = None
    path: str | None = None
    column: str | None = None
    """A currency leaf that the same program maps."""
    outer: str | None = None
    """For a line: a currency leaf of its record."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A leaf column as it is made."""

    leaf: Leaf
    declared: Field
    sources: tuple[str, ...]
    steps: tuple[Step, ...]
    currency: Currency | None
    makes: str | None
    """The currency leaf that the amount's rule fills too, because nothing else maps it."""
    is_fatal: bool
    """Whether a value that fails costs the record."""


@dataclass(frozen=True)
class Columns:
    """All leaf columns of one record shape, currencies before the amounts that need them."""

    compiled: tuple[Compiled, ...]
    zone: str | None
    is_line: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        read: list[str] = []
        for column in self.compiled:
            read.extend(column.sources)
            read.extend(need for step in column.steps for need in step.needs)
        return tuple(dict.fromkeys(read))

    @property
    def columns(self) -> tuple[str, ...]:
        made = [column.leaf.column for column in self.compiled]
        made.extend(column.makes for column in self.compiled if column.makes)
        return tuple(dict.fromkeys(made))


@dataclass(slots=True)
class Done:
    """Mapped columns of a batch."""

    values: dict[str, pl.Series] = dataclasses.field(default_factory=dict)
    no_opinion: dict[str, pl.Series] = dataclasses.field(default_factory=dict)
    """Column → Boolean, where some row has none."""
    bad: list[tuple[str, pl.Series, pl.Series, bool]] = dataclasses.field(default_factory=list)
    """(column, reasons, rules, whether fatal), null reasons where fine."""


def compile_columns(
    columns: Sequence[Column],
    system: System,
    stream: str,
    entity: Entity,
    model: Model,
    timezone: str,
    problems: list[Problem],
    outer: Columns | None = None,
) -> Columns:
    """Compile rows; what is wrong is added to `problems`. `outer`: the record's own columns, for its lines."""
    mapped = {column.leaf.column for column in columns}
    outer_currencies = {c.leaf.column for c in outer.compiled if c.leaf.kind == "currency"} if outer else set()
    compiled: list[Compiled] = []
    for column in columns:
        try:
            for path in column.sources:
                parse_path(path)
            steps = _steps(column, system, stream, model, timezone)
            currency, makes = _currency(column, steps, mapped, outer_currencies, entity)
        except (BadRule, BadPath) as error:
            problems.append(_refused(column, error))
            continue
        declared = column.declared
        is_fatal = declared.required or (column.field.on_bad == "record" and declared.on_bad == "record")
        if column.leaf.kind == "phone" and not declared.required:
            is_fatal = False
        compiled.append(Compiled(column.leaf, declared, column.sources, steps, currency, makes, is_fatal))
    compiled.sort(key=lambda c: c.leaf.kind == "money")
    return Columns(tuple(compiled), system.timezone, is_line=outer is not None)


def _refused(column: Column, error: BadRule | BadPath) -> Problem:
    row = column.row
    if isinstance(error, BadPath):
        return Problem(row.file, row.line, f"row {row.line}, column source_field", str(error), repr(row.source_field))
    where = f"row {row.line}, column rule"
    return Problem(row.file, row.line, where, error.expected, error.found, error.suggestion)


def _steps(column: Column, system: System, stream: str, model: Model, timezone: str) -> tuple[Step, ...]:
    declared, leaf = column.declared, column.leaf
    context = Context(
        system=system,
        model=model,
        kind=leaf.kind,
        field=declared,
        leaf=leaf.path,
        referenced=declared.entity if leaf.kind == "reference" else None,
        stream=stream,
        timezone=timezone,
        sources=column.sources,
    )
    steps = compile_rule(column.row.rule, context)
    if leaf.kind == "reference" and not any(step.name == "lookup" for step in steps):
        raise BadRule("the rule lookup for a reference", repr(column.row.rule))
    return steps


def _currency(
    column: Column, steps: Sequence[Step], mapped: set[str], outer: set[str], entity: Entity
) -> tuple[Currency | None, str | None]:
    """Where the amount's currency comes from, and the currency leaf that has to be filled with it."""
    if column.leaf.kind != "money":
        return None, None
    declared = column.declared
    own = f"{column.leaf.column}_currency"
    said = next((step.currency for step in steps if step.currency), None)
    if said is not None:
        makes = own if declared.currency is None and own not in mapped else None
        return (Currency(code=said[1]) if said[0] == "code" else Currency(path=said[1])), makes
    if declared.currency is None:
        if own in mapped:
            return Currency(column=own), None
    elif declared.currency.startswith("field:"):
        name = declared.currency.removeprefix("field:")
        if name in mapped:
            return Currency(column=name), None
        if name in outer:
            return Currency(outer=name), None
    elif declared.currency in currencies():
        return Currency(code=declared.currency), None
    wanted = declared.currency or f"{column.leaf.path}.currency"
    raise BadRule(f"a currency for the amount (map {wanted}, or name it: money GBP)", f"none for {entity.name}")


def run_columns(
    work: Columns, frame: pl.DataFrame, absent: Mapping[str, pl.Series], outer: Mapping[str, pl.Series] | None = None
) -> Done:
    """Make every column of a batch. `outer` are the currency columns of the lines' records, one value a line."""
    done = Done()
    for column in work.compiled:
        raw = tuple(frame[path] for path in column.sources)
        values = tuple(_without_sentinels(v, column.declared) for v in raw)
        piped = run_steps(column.steps, values, frame)
        outcome = _enforced(column, piped.values, work, frame, done, outer or {})
        bad, rules = first_reason(piped.bad, piped.rules, outcome.bad, column.leaf.kind)
        _judge(done, column, outcome.values, bad, rules, _unsaid(column, raw, absent))
    return done


def _enforced(
    column: Compiled,
    values: pl.Series,
    work: Columns,
    frame: pl.DataFrame,
    done: Done,
    outer: Mapping[str, pl.Series],
) -> Outcome:
    if column.currency is None:
        outcome = enforce(values, column.leaf.kind, column.declared, work.zone)
    else:
        currency = _currency_of(column.currency, values, frame, done, outer)
        outcome = enforce_money(values, currency, column.declared.scale)
        if column.makes:
            filled = currency.set(outcome.values.is_null(), None)
            done.values[column.makes] = filled.rename(column.makes)
    return within(outcome, values, column.declared) if work.is_line else outcome


def _currency_of(
    said: Currency, values: pl.Series, frame: pl.DataFrame, done: Done, outer: Mapping[str, pl.Series]
) -> pl.Series:
    if said.code is not None:
        return pl.Series([said.code], dtype=pl.String).new_from_index(0, len(values))
    if said.column is not None:
        return done.values[said.column]
    if said.outer is not None:
        return outer[said.outer]
    return enforce_currency(frame[str(said.path)]).values


def _without_sentinels(values: pl.Series, declared: Field) -> pl.Series:
    if not declared.sentinels:
        return values
    is_sentinel = values.str.strip_chars().is_in(list(declared.sentinels))
    return values.set(is_sentinel, None) if is_sentinel.any() else values


def _unsaid(column: Compiled, raw: Sequence[pl.Series], absent: Mapping[str, pl.Series]) -> pl.Series | None:
    """Where the source says nothing about this field: absent, or null or blank where the field keeps its value then."""
    declared = column.declared
    masks: list[pl.Series] = []
    for path, values in zip(column.sources, raw, strict=True):
        found = [absent[path]] if path in absent else []
        if declared.null == "keep":
            found.append(values.is_null())
        elif declared.blank == "keep" and not found:
            found.append(values.is_null() & False)
        if declared.blank == "keep":
            found.append(is_blank(values).fill_null(value=False))
        if not found:
            return None
        mask = found[0]
        for more in found[1:]:
            mask = mask | more
        masks.append(mask)
    if not masks:
        return None
    together = masks[0]
    for mask in masks[1:]:
        together = together & mask
    return together if together.any() else None


def _judge(
    done: Done,
    column: Compiled,
    values: pl.Series,
    bad: pl.Series | None,
    rules: pl.Series | None,
    unsaid: pl.Series | None,
) -> None:
    """Put a column's values, problems and missing opinions where they belong."""
    name = column.leaf.column
    if bad is not None:
        values = values.set(bad.is_not_null(), None)
    if column.declared.required and column.leaf.path == column.declared.name:
        is_missing = values.is_null() if bad is None else values.is_null() & bad.is_null()
        if is_missing.any():
            why = pl.Series(["expected a value, found none"]).new_from_index(0, len(values)).set(~is_missing, None)
            bad, rules = first_reason(bad, rules, why, "required")
    done.values[name] = values.rename(name)
    if bad is not None and rules is not None:
        done.bad.append((name, bad, rules, column.is_fatal))
    no_opinion = None if unsaid is None else unsaid & values.is_null()
    if bad is not None and not column.is_fatal:
        failed = bad.is_not_null()
        no_opinion = failed if no_opinion is None else no_opinion | failed
    if no_opinion is not None and no_opinion.any():
        done.no_opinion[name] = no_opinion
        if column.makes:
            done.no_opinion[column.makes] = no_opinion


def problem_frame(done: Done, index: pl.Series) -> pl.DataFrame:
    """All problems of a batch as rows (`PROBLEMS`); `index` is each row's `_row`."""
    frames = [pl.DataFrame(schema=PROBLEMS)]
    for name, bad, rules, is_fatal in done.bad:
        found = pl.DataFrame({"_row": index.cast(pl.UInt32), "rule": rules, "reason": bad}).filter(bad.is_not_null())
        frames.append(found.select("_row", pl.lit(name).alias("column"), "rule", "reason", fatal=pl.lit(is_fatal)))
    return pl.concat(frames, how="vertical")


def no_opinions(masks: Mapping[str, pl.Series], height: int) -> pl.Series:
    """Per row the names of the columns whose mask is true."""
    if not masks:
        return pl.Series("absent", [[]], dtype=pl.List(pl.String)).new_from_index(0, height)
    frame = pl.DataFrame(dict(masks))
    names = [pl.when(pl.col(name)).then(pl.lit(name)) for name in masks]
    return frame.select(absent=pl.concat_list(names).list.drop_nulls())["absent"]
