"""What every mapping rule is made of.

A rule is compiled once for a row of the sheet into a `Step`; the step runs on whole columns. It answers with the values
and, for the rows it could not do, the reason. A reason never shows more than 40 characters of a value, escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from canonical.landscape import System
from canonical.model import Field, LeafKind, Model
from canonical.shown import UNSEEN

SHOWN = 40
"""Most characters of a bad value that a reason shows."""


class BadRule(ValueError):
    """A rule that a sheet cannot use like this: what was expected, what was found."""

    def __init__(self, expected: str, found: str, suggestion: str | None = None) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step made of a column."""

    values: pl.Series
    """String, same length as the column; null where empty or bad."""
    bad: pl.Series | None = None
    """String reasons, null where the row is fine; None: every row is fine."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a step may look at."""

    values: tuple[pl.Series, ...]
    """The columns under way: several at the first step of a row that joins sources, then one."""
    frame: pl.DataFrame
    """All columns of the batch by source path (inbound) or leaf column (outbound)."""
    lookups: Mapping[tuple[str, str], pl.DataFrame] = field(default_factory=dict)
    """(entity, column) → (id, value) of golden records, for `value_of`."""

    @property
    def first(self) -> pl.Series:
        return self.values[0]


Run = Callable[[Inputs], Outcome]


@dataclass(frozen=True, slots=True)
class Step:
    """A compiled rule."""

    name: str
    run: Run
    needs: tuple[str, ...] = ()
    """Source paths it reads besides the row's own."""
    json: Literal["string", "number", "boolean", "json"] | None = None
    """The JSON kind it fixes, for the last step of an outbound row."""
    currency: tuple[Literal["code", "path"], str] | None = None
    """For money: where the amount's currency is said."""
    lookup: tuple[str, str] | None = None
    """For `value_of`: (entity, column) it needs."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where a rule stands: what it may refer to when it is compiled."""

    system: System
    model: Model
    kind: LeafKind = "text"
    field: Field | None = None
    leaf: str = ""
    """The leaf path (`address.postcode`)."""
    referenced: str | None = None
    """The entity that the row's reference leaf points to."""
    stream: str = ""
    timezone: str = "UTC"
    """The landscape's; a rule uses it only where it says `local`."""
    inbound: bool = True
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Args:
    """What stands behind a rule's name."""

    raw: str
    words: tuple[str, ...]
    """Split at spaces; double quotes hold words together and are taken off."""


class NoInverse(Exception):
    """A rule, used like this, cannot be undone; the message is the reason, as a sentence goes on after "because"."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an inverse is asked for."""

    position: int = 0
    """Which of the row's joined sources is to be written back, from 0."""
    domain: tuple[str, ...] | None = None
    """Every value that can arrive at the way back (a choice's, a table's codes); None: there is no list of them."""


@dataclass(frozen=True, slots=True)
class Undone:
    """The way back: an outbound rule (empty: the value is written as it stands)."""

    rule: str = ""
    domain: tuple[str, ...] | None = None
    """What it can give, as `Asked.domain`."""


Undo = Callable[[Args, Context, Asked], Undone]


def unchanged(_: Args, __: Context, asked: Asked) -> Undone:
    """The way back of a rule that only takes off what means nothing."""
    return Undone("", asked.domain)


def forgotten(what: str) -> Undo:
    """No way back, since the rule forgets something."""

    def undo(_: Args, __: Context, ___: Asked) -> Undone:
        raise NoInverse(what)

    return undo


def as_kind(what: str, *kinds: LeafKind) -> Undo:
    """The way back of a rule that does what the field's own kind does anyway: its canonical form is written."""

    def undo(_: Args, context: Context, asked: Asked) -> Undone:
        if context.kind not in kinds:
            raise NoInverse(what)
        return Undone("", asked.domain)

    return undo


OUTBOUND_ONLY: Final = forgotten("it is a rule of the way out")


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule of the sheet."""

    name: str
    doc: str
    signature: str
    compile: Callable[[Args, Context], Step]
    inverse: str | None = None
    """The rule that undoes it, where there is one."""
    undo: Undo = OUTBOUND_ONLY
    """How a row that uses it is undone; raises NoInverse."""
    takes_several: bool = False
    """Whether it takes a row's joined sources (else only one source may stand before it)."""
    takes_empty: bool = False
    """Whether it has a say where there is no value (default, required, const, join …)."""


def shown(values: pl.Expr) -> pl.Expr:
    """The start of a value, escaped, as a reason may show it."""
    cut = values.str.slice(0, SHOWN)
    plain = cut.str.replace_all(f"[{UNSEEN}]", "?")
    more = pl.when(values.str.len_chars() > SHOWN).then(pl.lit("…")).otherwise(pl.lit(""))
    return pl.lit('"') + plain + more + pl.lit('"')


def reasons(values: pl.Series, is_bad: pl.Series, expected: str) -> pl.Series | None:
    """`expected …, found "value"` where `is_bad`; None when no row is."""
    if not is_bad.any():
        return None
    frame = pl.DataFrame({"v": values, "b": is_bad})
    text = pl.lit(f"expected {expected}, found ") + shown(pl.col("v"))
    return frame.select(pl.when(pl.col("b")).then(text).alias("reason"))["reason"]


def judged(values: pl.Series, done: pl.Series, expected: str) -> Outcome:
    """The outcome of a step that gives null for what it could not do."""
    return Outcome(done, reasons(values, done.is_null() & values.is_not_null(), expected))


def on_distinct(values: pl.Series, function: Callable[[pl.Series], Outcome]) -> Outcome:
    """Run a function of values on the distinct ones only."""
    distinct = values.drop_nulls().unique()
    if len(distinct) * 10 >= len(values) * 9 and not values.null_count():
        return function(values)
    if not len(distinct):
        return Outcome(values)
    outcome = function(distinct)
    mapped = values.replace_strict(distinct, outcome.values, default=None, return_dtype=pl.String)
    if outcome.bad is None:
        return Outcome(mapped)
    return Outcome(mapped, values.replace_strict(distinct, outcome.bad, default=None, return_dtype=pl.String))


def each_value(values: pl.Series, function: Callable[[str], str | None], expected: str) -> Outcome:
    """Run a Python function on distinct values: the slow way, for what no column operation can do.

    The function gives None for a value that it cannot do."""

    def run(distinct: pl.Series) -> Outcome:
        done = pl.Series([None if v is None else function(v) for v in distinct], dtype=pl.String)
        return judged(distinct, done, expected)

    return on_distinct(values, run)


def merged(*parts: pl.Series | None) -> pl.Series | None:
    """The first reason of each row."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    frame = pl.DataFrame({f"r{i}": part for i, part in enumerate(found)})
    return frame.select(pl.coalesce(pl.all()).alias("reason"))["reason"]


def no_args(args: Args, name: str) -> None:
    """Refuse words behind a rule that takes none."""
    if args.raw:
        raise BadRule(f"{name} alone", f"{args.raw!r} behind it")


def simple(name: str, doc: str, run: Callable[[pl.Series], Outcome], undo: Undo) -> Rule:
    """A rule without arguments on one column."""

    def compile_step(args: Args, _: Context) -> Step:
        no_args(args, name)
        return Step(name, lambda inputs: run(inputs.first))

    return Rule(name, doc, name, compile_step, undo=undo)


def select(values: Sequence[pl.Series], expression: pl.Expr) -> pl.Series:
    """Evaluate an expression over columns named c0, c1 …"""
    frame = pl.DataFrame({f"c{i}": v for i, v in enumerate(values)})
    return frame.select(expression.alias("out"))["out"]
